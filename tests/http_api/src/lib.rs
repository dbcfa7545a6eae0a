//! Whether a daemon's HTTP API is what its document in docs/openapi says, and what it answers to those who have no token
//! or talk nonsense. It knows no route: the document tells it what there is. What is sent is always wrong or about what
//! is not there; whether right requests are answered as described is for `make test-api`, on a whole cluster.

mod operation;

use std::path::{Path, PathBuf};

use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

use crate::operation::Operation;

/// An id that nobody has been given.
const ABSENT: &str = "00000000000000000000000000000000";

/// No body that any route takes.
const NONSENSE: [(Option<&str>, &str); 6] = [
    (None, "{}"),
    (Some("text/plain"), "{}"),
    (Some("application/json"), "{"),
    (Some("application/json"), "null"),
    (Some("application/json"), "\"nonsense\""),
    (Some("application/json"), r#"{"nonsense":1}"#),
];

/// A daemon whose HTTP API is being served.
pub struct Served {
    /// Its document's name in docs/openapi.
    pub daemon: &'static str,
    /// `host:port`
    pub address: String,
    /// The value of an `Authorization` header that lets everything in.
    pub authorization: String,
}

impl Served {
    /// Panics at the first thing that is not as it should be. Returns how many operations there are.
    /// `UPDATE_GOLDENFILES=1` writes the document anew.
    pub async fn check(&self) -> usize {
        let http = http_client::client(None);
        let document = self.document(&http).await;
        self.page(&http).await;
        let operations = operation::all(&document);
        for operation in &operations {
            self.without_token(&http, operation).await;
            self.of_what_is_not_there(&http, operation).await;
            self.with_nonsense(&http, operation).await;
        }
        operations.len()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What is served is what is checked in.
    async fn document(&self, http: &Client) -> Value {
        let served = http.get(self.url(http_server::DOCUMENT)).send().await.unwrap().text().await.unwrap();
        let served: Value = serde_json::from_str(&served).unwrap();
        let golden = golden(self.daemon);
        if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
            std::fs::write(&golden, format!("{served:#}\n")).unwrap();
        }
        let known: Value = serde_json::from_slice(&std::fs::read(&golden).unwrap()).unwrap();
        assert!(served == known, "it is not {}: write it anew with UPDATE_GOLDENFILES=1", golden.display());
        known
    }

    async fn page(&self, http: &Client) {
        for (file, kind) in [("", "text/html"), ("swagger-ui-bundle.js", "text/javascript")] {
            let page = http.get(self.url(&format!("/v1/doc/{file}"))).send().await.unwrap();
            let page = page.error_for_status().unwrap();
            let found = page.headers()["content-type"].to_str().unwrap();
            assert!(found.starts_with(kind), "{file:?} is {found}");
        }
    }

    async fn without_token(&self, http: &Client, operation: &Operation<'_>) {
        let request = http.request(operation.method.clone(), self.url(&operation.path(ABSENT)));
        let (status, _) = answer(request, &format!("{operation} without a token")).await;
        assert_eq!(status, 401, "{operation} without a token");
    }

    async fn of_what_is_not_there(&self, http: &Client, operation: &Operation<'_>) {
        let what = format!("{operation} of what is not there");
        let (status, message) = answer(self.ask(http, operation, ABSENT), &what).await;
        assert!(status < 500, "{what}: {status} {message}");
        // Else the document has a route that the daemon has not.
        assert_ne!(status, 405, "{what}: {message}");
        assert!(!message.contains(&format!("there is no {}", operation.method)), "{what}: {message}");
    }

    async fn with_nonsense(&self, http: &Client, operation: &Operation<'_>) {
        let refused = async |request: RequestBuilder, what: String| {
            let (status, message) = answer(request, &what).await;
            assert!((400..500).contains(&status), "{what}: {status} {message}");
            (status, message)
        };
        if operation.has_variables() {
            let what = format!("{operation} of nonsense");
            let (status, message) = refused(self.ask(http, operation, "nonsense"), what.clone()).await;
            assert_eq!(status, 400, "{what}: {message}");
            assert!(message.contains("nonsense"), "{what}: {message}");
        }
        for parameter in operation.parameters("query") {
            let request = self.ask(http, operation, ABSENT).query(&[(parameter, "nonsense")]);
            refused(request, format!("{operation} with {parameter}=nonsense")).await;
        }
        if operation.takes_json() {
            for (kind, body) in NONSENSE {
                let mut request = self.ask(http, operation, ABSENT).body(body);
                if let Some(kind) = kind {
                    request = request.header("Content-Type", kind);
                }
                refused(request, format!("{operation} with {body} as {kind:?}")).await;
            }
        }
        let other = http.request(Method::PATCH, self.url(&operation.path(ABSENT)));
        let other = other.header("Authorization", &self.authorization);
        let (status, message) = answer(other, &format!("PATCH instead of {operation}")).await;
        assert_eq!(status, 405, "PATCH instead of {operation}: {message}");
    }

    fn ask(&self, http: &Client, operation: &Operation<'_>, id: &str) -> RequestBuilder {
        let request = http.request(operation.method.clone(), self.url(&operation.path(id)));
        request.header("Authorization", &self.authorization)
    }
}

fn golden(daemon: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi").join(format!("{daemon}.json"))
}

/// The status, and the message of an error. Whatever is answered is JSON.
async fn answer(request: RequestBuilder, what: &str) -> (u16, String) {
    let answer = request.send().await.unwrap_or_else(|error| panic!("{what}: {error}"));
    let status = answer.status();
    let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    assert_eq!(kind.as_deref(), Some("application/json"), "{what} is answered with {status}");
    assert_eq!(
        status == 405,
        answer.headers().contains_key("allow"),
        "{what}, {status}: which methods are there?"
    );
    let body: Value = answer.json().await.unwrap_or_else(|error| panic!("{what}, {status}: {error}"));
    if status.is_success() {
        return (status.as_u16(), String::new());
    }
    assert_eq!(body["code"], status.as_u16(), "{what}: {body}");
    let message = body["msg"].as_str().unwrap_or_else(|| panic!("{what}: {body}"));
    assert!(!message.is_empty(), "{what}: {body}");
    (status.as_u16(), message.to_owned())
}
