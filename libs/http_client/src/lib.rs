//! What the clients of our HTTP APIs share: the token, TLS for who says whom to believe, a time-out, JSON both ways, errors
//! in words.
//! A request that is made for a trace says so. It knows no route, tries nothing twice and keeps nothing but connections.

use std::time::{Duration, SystemTime};

use auth::{Credentials, Trust};
pub use reqwest::{Body, Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// For requests that do not say otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);
/// An idle connection is used again within this, and no later: our servers end theirs after half a minute, and one on which nobody
/// has asked yet after 10 s. A request that crosses that end is lost.
pub const MOST_IDLE: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No answer at all.
    #[error("{service} at {address} does not answer: {source}")]
    Unreachable { service: &'static str, address: String, source: reqwest::Error },
    /// It said no.
    #[error("{service} refused ({status}): {message}")]
    Refused { service: &'static str, status: StatusCode, message: String },
    /// Not the JSON that it should be.
    #[error("{service} at {address} sent an answer that is not understood: {source}")]
    Malformed { service: &'static str, address: String, source: reqwest::Error },
}

impl HttpError {
    /// What was asked about is not there.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND)
    }

    /// The status, if it was the service that refused.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            HttpError::Refused { status, .. } => Some(*status),
            HttpError::Unreachable { .. } | HttpError::Malformed { .. } => None,
        }
    }
}

/// None if what was asked about is not there.
pub fn absent_is_none<T>(answer: Result<T, HttpError>) -> Result<Option<T>, HttpError> {
    match answer {
        Err(error) if error.is_not_found() => Ok(None),
        other => other.map(Some),
    }
}

/// What sends requests: over TLS to who is believed, or to anybody without TLS.
pub fn client(trust: Option<&Trust>) -> reqwest::Client {
    let config = trust.map_or_else(Trust::nobody, |trust| trust.client_config(&["http/1.1"]));
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    let built =
        reqwest::Client::builder().tls_backend_preconfigured(config).pool_idle_timeout(MOST_IDLE).build();
    built.expect("all that it takes was given to it")
}

/// What sends traces, to a collector that believes like everybody else.
pub fn to_collector(trust: Option<&Trust>) -> telemetry::traces::Connection {
    telemetry::traces::Connection { http: client(trust), believes_somebody: trust.is_some() }
}

/// One service at one address.
#[derive(Clone, Debug)]
pub struct HttpClient {
    /// As in "the pageserver", for errors.
    service: &'static str,
    /// `host:port`
    address: String,
    credentials: Credentials,
    /// `http` or `https`
    scheme: &'static str,
    http: reqwest::Client,
}

impl HttpClient {
    pub fn new(service: &'static str, address: &str, credentials: Credentials) -> Self {
        let scheme = if credentials.trust().is_some() { "https" } else { "http" };
        let http = client(credentials.trust());
        Self { service, address: address.to_owned(), credentials, scheme, http }
    }

    /// `path` begins with a slash.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}://{}{path}", self.scheme, self.address);
        let request = self.http.request(method, url).bearer_auth(self.credentials.token()).timeout(TIMEOUT);
        match telemetry::traces::span::current() {
            Some(trace) => request.header("traceparent", trace.to_string()),
            None => request,
        }
    }

    /// Sends a request and reads the answer's JSON.
    pub async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, HttpError> {
        let response = self.answer(request).await?;
        self.read(response).await
    }

    async fn read<T: DeserializeOwned>(&self, response: reqwest::Response) -> Result<T, HttpError> {
        response.json().await.map_err(|source| HttpError::Malformed {
            service: self.service,
            address: self.address.clone(),
            source,
        })
    }

    /// Sends a request whose answer says nothing more than that it was done.
    pub async fn send(&self, request: RequestBuilder) -> Result<(), HttpError> {
        self.answer(request).await.map(drop)
    }

    /// The JSON that stands there, and what time it is there, in whole seconds.
    pub async fn dated<T: DeserializeOwned>(&self, path: &str) -> Result<(SystemTime, T), HttpError> {
        let answer = self.answer(self.request(Method::GET, path)).await?;
        let date = answer.headers().get(reqwest::header::DATE).and_then(|date| date.to_str().ok());
        // RFC 9110 §6.6.1: a server with a clock says the time.
        let time = date.and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or_else(SystemTime::now);
        Ok((time, self.read(answer).await?))
    }

    async fn answer(&self, request: RequestBuilder) -> Result<reqwest::Response, HttpError> {
        let response = request.send().await.map_err(|source| HttpError::Unreachable {
            service: self.service,
            address: self.address.clone(),
            source,
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let message = message_in(&text).unwrap_or(text);
        Err(HttpError::Refused { service: self.service, status, message })
    }
}

/// `{"code": 404, "msg": "…"}`, as http_server writes it.
fn message_in(body: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct ErrorBody {
        msg: String,
    }
    serde_json::from_str::<ErrorBody>(body).ok().map(|body| body.msg)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn nobody() -> Credentials {
        Credentials::fixed("no.bodys.token").unwrap()
    }

    /// Answers one request with these bytes and returns what it was asked.
    async fn answer_once(listener: TcpListener, answer: &'static str) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = vec![0; 4096];
        let length = stream.read(&mut asked).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&asked[..length]).into_owned()
    }

    async fn exchange(answer: &'static str) -> (Result<u32, HttpError>, String, Credentials) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let credentials = nobody();
        let client = HttpClient::new("the oracle", &address, credentials.clone());
        let (result, asked) =
            tokio::join!(client.json(client.request(Method::GET, "/v1/n")), answer_once(listener, answer));
        (result, asked, credentials)
    }

    #[tokio::test]
    async fn the_token_is_presented_and_the_answer_read() {
        let (result, asked, credentials) = exchange("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n42").await;
        assert_eq!(result.unwrap(), 42);
        assert!(asked.starts_with("GET /v1/n ") && asked.contains(&credentials.bearer()), "{asked}");
    }

    #[tokio::test]
    async fn errors_say_who_and_what() {
        let refused = "HTTP/1.1 409 Conflict\r\ncontent-length: 28\r\n\r\n{\"code\":409,\"msg\":\"differs\"}";
        let error = exchange(refused).await.0.unwrap_err();
        assert_eq!(error.status(), Some(StatusCode::CONFLICT));
        assert_eq!(error.to_string(), "the oracle refused (409 Conflict): differs");
        let nonsense = exchange("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n?").await.0.unwrap_err();
        assert!(nonsense.to_string().contains("not understood"), "{nonsense}");
        let nobody = HttpClient::new("the oracle", "127.0.0.1:1", nobody());
        let silence = nobody.send(nobody.request(Method::GET, "/")).await.unwrap_err();
        assert!(silence.to_string().contains("does not answer"), "{silence}");
    }
}
