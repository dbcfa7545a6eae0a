//! Who is not meant is refused, and what others wrote is never markup.

use std::time::Duration;

use harness::{Cluster, block_on};
use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::served::{Served, Visitor, client, header};

#[test]
fn only_who_logged_in_here_is_served_and_only_by_our_pages() {
    let cluster = Cluster::up("console-refusals").need_not_evict("it reads little");
    block_on(async {
        let served = Served::start(&cluster);
        let nobody = client();
        for path in ["/", "/endpoints", "/positions/live", "/layers", "/nothing"] {
            let answer = nobody.get(format!("{}{path}", served.base)).send().await.unwrap();
            assert_eq!(answer.status(), 401, "{path}");
            assert!(header(&answer, "content-security-policy").contains("default-src 'none'"), "{path}");
            assert!(!answer.text().await.unwrap().contains("main<"), "{path}");
        }
        let wrong = format!("{}/login?token={}", served.base, "0".repeat(64));
        assert_eq!(nobody.get(wrong).send().await.unwrap().status(), 401);
        let visitor = Visitor::log_in(&served).await;
        assert_eq!(nobody.get(&served.link).send().await.unwrap().status(), 401, "the link was used");

        // A name of somebody else's that means this machine.
        for host in ["evil.example", "evil.example:7700", "127.0.0.1.evil.example"] {
            let answer = visitor.ask(Method::GET, "/").header("host", host).send().await.unwrap();
            assert_eq!(answer.status(), 421, "{host}");
        }
        let localhost = format!("localhost:{}", served.authority().rsplit(':').next().unwrap());
        assert_eq!(
            visitor.ask(Method::GET, "/").header("host", localhost).send().await.unwrap().status(),
            200
        );

        // Forms of other pages, with the cookie.
        let fields = [("name", "x"), ("of", "main"), ("at", "")];
        let sent = async |name: &'static str, value: &str| {
            let mut request = visitor.form("/", &fields).build().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
            visitor.http.execute(request).await.unwrap().status().as_u16()
        };
        for origin in ["http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:1"] {
            assert_eq!(sent("origin", origin).await, 403, "{origin}");
        }
        for site in ["cross-site", "same-site", "none"] {
            assert_eq!(sent("sec-fetch-site", site).await, 403, "{site}");
        }
        // Or without the form's token, or with an invented one.
        for body in ["name=x&of=main&at=", "csrf=&name=x&of=main&at=", "csrf=0000&name=x&of=main&at="] {
            let request =
                visitor.ask(Method::POST, "/").header("content-type", "application/x-www-form-urlencoded");
            assert_eq!(request.body(body).send().await.unwrap().status(), 403, "{body}");
        }
        // A POST is a POST.
        for path in ["/endpoints/stop?endpoint=main", "/branch/delete?branch=main&confirm=main", "/logout"] {
            let answer = visitor.ask(Method::GET, path).send().await.unwrap();
            assert_eq!(answer.status(), 405, "{path}");
        }
        assert!(cluster.pid("endpoint-main").is_some());
        let branches = cluster.varve_json(&["timeline", "list"]);
        assert_eq!(branches.as_array().map(Vec::len), Some(1), "only main: {branches}");
        assert_eq!(sent("sec-fetch-site", "same-origin").await, 303, "our own form is heeded");
        cluster.ids("x");

        let answer = visitor.form("/logout", &[]).send().await.unwrap();
        assert!(answer.status().is_success());
        assert_eq!(visitor.ask(Method::GET, "/").send().await.unwrap().status(), 401);
        served.end();
    });
}

/// As the ports of daemons: who says nothing does not stay, and who is logged in does.
#[test]
fn only_who_logged_in_keeps_a_connection() {
    let cluster = Cluster::up("console-connections").need_not_evict("it reads little");
    block_on(async {
        let served = Served::start(&cluster);
        let visitor = Visitor::log_in(&served).await;
        let connect = async || TcpStream::connect(served.authority()).await.unwrap();
        let (mut silent, mut known) = (connect().await, connect().await);
        let request = format!(
            "HEAD /layers HTTP/1.1\r\nhost: {}\r\ncookie: {}\r\n\r\n",
            served.authority(),
            visitor.cookie
        );
        let ask = async |known: &mut TcpStream| {
            known.write_all(request.as_bytes()).await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let read = known.read_buf(&mut head).await.unwrap();
                assert_ne!(read, 0, "it has ended: {}", head.escape_ascii());
            }
            assert!(head.starts_with(b"HTTP/1.1 200 OK"), "{}", head.escape_ascii());
        };
        ask(&mut known).await;
        let ended = tokio::time::timeout(Duration::from_secs(60), silent.read(&mut [0; 1])).await;
        assert_eq!(ended.expect("its end").unwrap(), 0);
        ask(&mut known).await;
        served.end();
    });
}

#[test]
fn what_others_wrote_is_no_markup() {
    let cluster = Cluster::up("console-markup").need_not_evict("it reads little");
    block_on(async {
        const EVIL: &str = "<script>alert(1)</script>";
        let main = cluster.connect("main").await;
        main.batch_execute(&format!("CREATE DATABASE \"{EVIL}\"")).await.unwrap();
        main.batch_execute(&format!("CREATE TABLE \"{EVIL}\" (\"{EVIL}\" text DEFAULT '{EVIL}')"))
            .await
            .unwrap();
        main.batch_execute(&format!("INSERT INTO \"{EVIL}\" DEFAULT VALUES")).await.unwrap();
        let served = Served::start(&cluster);
        let visitor = Visitor::log_in(&served).await;
        let escaped = "&lt;script&gt;alert(1)&lt;/script&gt;";
        let mut pages = vec![
            visitor.query("main", "", &format!("SELECT * FROM \"{EVIL}\"")).await,
            visitor.query("main", "", &format!("SELECT \"{EVIL}\" FROM nowhere -- {EVIL}")).await,
            visitor.query(EVIL, "", "SELECT 1").await,
            visitor.query("main", EVIL, "SELECT 1").await,
            visitor
                .answer(
                    "/schema",
                    &[("one", "main"), ("other", "main"), ("other_at", EVIL), ("database", EVIL)],
                )
                .await,
            visitor
                .answer(
                    "/query",
                    &[("branch", "main"), ("database", EVIL), ("sql", "SELECT current_database()")],
                )
                .await,
            visitor.sent("/", &[("name", EVIL), ("of", EVIL), ("at", EVIL)]).await,
            visitor.sent("/endpoints", &[("name", EVIL), ("branch", EVIL), ("does", EVIL)]).await,
        ];
        for path in ["/branch?branch=", "/layers?branch=", "/?tenant="] {
            let answer = visitor
                .ask(Method::GET, &format!("{path}{}", super::served::encoded(EVIL)))
                .send()
                .await
                .unwrap();
            pages.push(answer.text().await.unwrap());
        }
        for page in pages {
            assert!(page.contains(escaped), "it is not there at all: {page}");
            assert!(!page.contains("<script>"), "{page}");
        }
        served.end();
    });
}
