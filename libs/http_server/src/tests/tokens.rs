//! Who is told what.

use auth::{Claims, Scope, SigningKey};

use super::{LIMITS, Port};

#[tokio::test]
async fn nothing_is_told_without_the_token() {
    let port = Port::open(LIMITS).await;
    let token = port.token();
    let other = port.key.credentials(&Claims::new([Scope::Safekeeper])).unwrap();
    let strange = SigningKey::generate().credentials(&Claims::new([Scope::Admin])).unwrap();
    for path in ["/v1/status", "/metrics", "/unknown"] {
        assert!(port.ask(path, None).await.starts_with("HTTP/1.1 401"), "{path}");
        assert!(port.ask(path, Some(&strange)).await.starts_with("HTTP/1.1 401"), "{path}");
        let forbidden = port.ask(path, Some(&other)).await;
        assert!(forbidden.starts_with("HTTP/1.1 403") && forbidden.contains("pageserver"), "{forbidden}");
    }
    assert!(port.ask("/v1/status", Some(&token)).await.ends_with("fine"));
    assert!(port.ask("/metrics", Some(&token)).await.contains("seen_total 0"));
    assert!(port.ask("/unknown", Some(&token)).await.contains("there is no GET /unknown"));
    port.stop().await;
}
