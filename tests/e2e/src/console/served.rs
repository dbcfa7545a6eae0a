//! [`Served`]: a console of a cluster, and a [`Visitor`] who fills in its forms.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use harness::Cluster;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;

pub struct Served {
    process: Child,
    _stdout: BufReader<ChildStdout>,
    /// `http://127.0.0.1:PORT`
    pub base: String,
    /// The link that logs in.
    pub link: String,
}

impl Served {
    pub fn start(cluster: &Cluster) -> Served {
        let mut command: Command = cluster.command(&["--json", "console", "--listen", "127.0.0.1:0"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("varve runs");
        let mut stdout = BufReader::new(process.stdout.take().expect("its output"));
        let mut text = String::new();
        while !text.ends_with("}\n") {
            let read = stdout.read_line(&mut text).expect("its output");
            assert!(read > 0, "the console ended: {text}");
        }
        let said: Value = serde_json::from_str(&text).expect("JSON");
        let link = said["url"].as_str().expect("a link").to_owned();
        let base = link.split("/login").next().expect("a path").to_owned();
        Served { process, _stdout: stdout, base, link }
    }

    /// What follows `http://`.
    pub fn authority(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id().cast_signed()), signal).expect("it runs");
    }

    /// Ends it as a person does. It must end well.
    pub fn end(mut self) {
        self.signal(Signal::SIGINT);
        let status = self.process.wait().expect("its end");
        assert!(status.success(), "{status}");
    }

    /// As the machine does that has no memory left.
    pub fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        self.process.wait().expect("its end");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It has ended, unless the test failed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Follows no redirects, and has only the cookies that it was given.
#[allow(clippy::disallowed_methods, reason = "a browser, which believes nobody in particular")]
pub fn client() -> Client {
    Client::builder()
        .tls_backend_preconfigured(auth::Trust::nobody())
        .redirect(Policy::none())
        .timeout(Duration::from_secs(120))
        .build()
        .expect("a client")
}

pub struct Visitor {
    pub http: Client,
    pub base: String,
    pub cookie: String,
    pub csrf: String,
}

impl Visitor {
    pub async fn log_in(served: &Served) -> Visitor {
        let http = client();
        let answer = http.get(&served.link).send().await.expect("an answer");
        assert_eq!((answer.status().as_u16(), header(&answer, "location")), (303, "/".to_owned()));
        let cookie = header(&answer, "set-cookie");
        for word in ["HttpOnly", "SameSite=Strict", "Path=/"] {
            assert!(cookie.contains(word), "{cookie}");
        }
        let cookie = cookie.split(';').next().expect("a cookie").to_owned();
        let mut visitor = Visitor { http, base: served.base.clone(), cookie, csrf: String::new() };
        let page = visitor.page("/").await;
        visitor.csrf = between(&page, "name=\"csrf\" value=\"", "\"").to_owned();
        assert_eq!(visitor.csrf.len(), 64);
        visitor
    }

    pub fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).header("cookie", &self.cookie)
    }

    /// A page, with what every page must have.
    pub async fn page(&self, path: &str) -> String {
        let answer = self.ask(Method::GET, path).send().await.expect("an answer");
        let status = answer.status();
        let policy = header(&answer, "content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
        let text = answer.text().await.expect("a page");
        assert!(status.is_success(), "{path}: {status} {text}");
        for word in ["<html lang=\"en\">", "<main id=\"content\"", "<h1>", "aria-current=\"page\""] {
            assert!(text.contains(word), "{path} has no {word}: {text}");
        }
        for word in ["<script>", " style=\"", " onclick", "http://", "https://"] {
            assert!(!text.contains(word), "{path} has {word}: {text}");
        }
        text
    }

    pub fn form(&self, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        let csrf = [("csrf", self.csrf.as_str())];
        let pairs: Vec<String> =
            csrf.iter().chain(fields).map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let request = self.ask(Method::POST, path).header("origin", &self.base);
        request.header("content-type", "application/x-www-form-urlencoded").body(pairs.join("&"))
    }

    /// Sends a form that ends in a redirect. Returns the page there, which says how it went.
    pub async fn sent(&self, path: &str, fields: &[(&str, &str)]) -> String {
        let answer = self.form(path, fields).send().await.expect("an answer");
        let (status, then) = (answer.status().as_u16(), header(&answer, "location"));
        assert_eq!(status, 303, "{path} {fields:?}: {}", answer.text().await.expect("text"));
        self.page(&then).await
    }

    /// The same; it must have been done.
    pub async fn does(&self, path: &str, fields: &[(&str, &str)]) -> String {
        let page = self.sent(path, fields).await;
        assert!(page.contains("notice good") && !page.contains("notice bad"), "{path} {fields:?}: {page}");
        page
    }

    /// The same; it must have been refused because of that.
    pub async fn is_refused(&self, path: &str, fields: &[(&str, &str)], because: &str) {
        let page = self.sent(path, fields).await;
        assert!(!page.contains("notice good"), "{path} {fields:?}: {page}");
        let said = between(&page, "<p class=\"notice bad\"", "</p>");
        assert!(said.contains(because), "{path} {fields:?}: {said}");
    }

    /// Sends a form that is answered with a page.
    pub async fn answer(&self, path: &str, fields: &[(&str, &str)]) -> String {
        let answer = self.form(path, fields).send().await.expect("an answer");
        let status = answer.status();
        let text = answer.text().await.expect("a page");
        assert!(status.is_success(), "{path} {fields:?}: {status} {text}");
        text
    }

    pub async fn query(&self, branch: &str, at: &str, sql: &str) -> String {
        let fields = [("branch", branch), ("at", at), ("database", "postgres"), ("sql", sql)];
        self.answer("/query", &fields).await
    }
}

pub fn header(answer: &Response, name: &str) -> String {
    answer.headers().get(name).map(|value| value.to_str().expect("text").to_owned()).unwrap_or_default()
}

/// What stands between the first `begin` and the next `end`.
pub fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(begin).unwrap_or_else(|| panic!("no {begin:?} in {text}"));
    rest.split_once(end).unwrap_or_else(|| panic!("no {end:?} behind {begin:?} in {text}")).0
}

pub fn encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    value.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
