//! Serving with a certificate: who is answered, who is sent away, and that nobody holds up the others.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::{LIMITS, Port};

async fn ask(port: &Port, path: &str) -> String {
    let http = http_client::client(Some(&port.trust()));
    let request = http.get(format!("https://{}{path}", port.address)).bearer_auth(port.token().token());
    let answer = request.send().await.unwrap_or_else(|error| panic!("{error:?}"));
    answer.text().await.unwrap()
}

#[tokio::test]
async fn those_who_do_not_finish_their_handshake_hold_up_nobody() {
    let port = Port::open_with_tls(LIMITS).await;
    let mut idle = Vec::new();
    for n in 0..40 {
        let mut stream = port.connect().await;
        if n % 2 == 0 {
            stream.write_all(&[22, 3, 1]).await.unwrap();
        }
        idle.push(stream);
    }
    let answer = tokio::time::timeout(Duration::from_secs(5), ask(&port, "/v1/status")).await.unwrap();
    assert_eq!(answer, "fine");
    // Nor the end; and a request under way is answered.
    let (answer, ()) = tokio::join!(ask(&port, "/late"), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        port.shutdown.cancel();
    });
    assert_eq!(answer, "late");
    tokio::time::timeout(Duration::from_secs(4), port.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn plain_text_is_refused_in_words() {
    let port = Port::open_with_tls(LIMITS).await;
    let said = port.ask("/v1/status", Some(&port.token())).await;
    assert!(said.starts_with("HTTP/1.1 400 ") && said.contains("speaks TLS only"), "{said}");
    assert!(!said.contains("fine"), "{said}");
}

#[tokio::test]
async fn both_versions_of_http_are_to_be_had() {
    let port = Port::open_with_tls(LIMITS).await;
    for protocol in ["h2", "http/1.1"] {
        let stream = port.connect().await;
        let stream = port.trust().connect("127.0.0.1", stream, &[protocol]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
    }
}
