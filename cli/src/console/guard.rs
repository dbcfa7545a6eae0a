//! What stands before every page. A request is answered only if it names this console as its host, which a page elsewhere
//! that has its own name point here (DNS rebinding) cannot do; if it comes with the cookie of somebody who is logged in;
//! and, where it changes something, if a form of ours sent it, which is shown by where the browser says that it comes from
//! and by the form's token.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, HOST, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_server::Known;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Console;
use super::layout;
use super::sessions::{Visitor, same};

/// Nothing of a page may come from elsewhere or stand within it, nothing of it may go elsewhere, nobody may frame it.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// Of forms. A statement is the largest thing in one.
pub const MOST_BYTES: usize = 256 << 10;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Names of hosts by which it lets itself be called.
pub struct Hosts(Vec<String>);

impl Hosts {
    pub fn new(listens_on: IpAddr, names: &[String]) -> Hosts {
        let mut all = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned()];
        match listens_on {
            ip if ip.is_unspecified() => {}
            IpAddr::V4(ip) => all.push(ip.to_string()),
            IpAddr::V6(ip) => all.push(format!("[{ip}]")),
        }
        all.extend(names.iter().map(|name| name.to_ascii_lowercase()));
        Hosts(all)
    }

    /// Whatever the port: a container's is another one outside.
    fn knows(&self, authority: &str) -> bool {
        let name = match authority.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => authority,
        };
        self.0.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

pub(super) async fn guard(State(console): State<Arc<Console>>, mut request: Request, next: Next) -> Response {
    let answer = match admit(&console, &request) {
        Ok(visitor) => {
            if let Some(visitor) = visitor {
                if let Some(connection) = request.extensions().get::<Known>() {
                    connection.set();
                }
                request.extensions_mut().insert(visitor);
            }
            next.run(request).await
        }
        Err(refusal) => *refusal,
    };
    with_headers(answer)
}

/// Who asks; nobody, where nobody need be logged in.
fn admit(console: &Console, request: &Request) -> Result<Option<Visitor>, Box<Response>> {
    let refuse = |answer: Response| Err(Box::new(answer));
    let authority = authority(request.headers(), request.uri());
    let Some(authority) = authority.filter(|authority| console.hosts.knows(authority)) else {
        let said = "This console is not called that: open the link that `varve console` printed. Other names are allowed \
                    by `--name`.\n";
        return refuse((StatusCode::MISDIRECTED_REQUEST, said).into_response());
    };
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    if changes && !comes_from_here(request.headers(), authority) {
        let said = "This request comes from a page of somebody else's, and was not heeded.\n";
        return refuse((StatusCode::FORBIDDEN, said).into_response());
    }
    let path = request.uri().path();
    if path == "/login" || path.starts_with("/static/") {
        return Ok(None);
    }
    let mut cookies = request.headers().get_all(COOKIE).iter();
    match cookies.find_map(|cookies| console.sessions.visitor(cookies.to_str().ok()?)) {
        Some(visitor) => Ok(Some(visitor)),
        None => refuse((StatusCode::UNAUTHORIZED, layout::who_are_you()).into_response()),
    }
}

fn authority<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    // Of HTTP/2, in the URI.
    let host = headers.get(HOST).map(HeaderValue::to_str);
    host.map_or_else(|| uri.authority().map(|authority| authority.as_str()), Result::ok)
}

/// What browsers say of where a request comes from. One that says neither is no browser, and has the form's token.
fn comes_from_here(headers: &HeaderMap, authority: &str) -> bool {
    let site = headers.get(FETCH_SITE).is_none_or(|site| site == "same-origin");
    let origin = headers.get(ORIGIN).is_none_or(|origin| {
        origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://")) == Some(authority)
    });
    site && origin
}

fn with_headers(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        // Not `no-referrer`: browsers would not say then where a form comes from.
        (REFERRER_POLICY, "same-origin"),
        (OPENER_POLICY, "same-origin"),
        (RESOURCE_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    answer
}

/// What a form of ours sent. The only way for a handler to get at it, so none forgets the token.
pub struct Posted<T>(pub T);

#[derive(Deserialize)]
struct WithToken<T> {
    #[serde(default)]
    csrf: String,
    #[serde(flatten)]
    fields: T,
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Posted<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Posted<T>, Response> {
        let visitor = request.extensions().get::<Visitor>().cloned();
        let kind =
            request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("application/x-www-form-urlencoded") {
            return Err(
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "This is no form of the console's.\n").into_response()
            );
        }
        let bytes = Bytes::from_request(request, state).await.map_err(IntoResponse::into_response)?;
        let form = serde_urlencoded::from_bytes::<WithToken<T>>(&bytes).map_err(|error| {
            (StatusCode::BAD_REQUEST, format!("This is no form of the console's: {error}\n")).into_response()
        })?;
        if visitor.is_some_and(|visitor| same(&visitor.csrf, &form.csrf)) {
            return Ok(Posted(form.fields));
        }
        let said = "This form is not of this session: go back, load the page again and send it once more.\n";
        Err((StatusCode::FORBIDDEN, said).into_response())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_names_are_known() {
        let hosts = Hosts::new("10.0.0.7".parse().unwrap(), &["Varve.Example".to_owned()]);
        for good in
            ["localhost", "localhost:7700", "127.0.0.1:1", "[::1]:7700", "10.0.0.7", "varve.example:80"]
        {
            assert!(hosts.knows(good), "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "localhost.evil.example:7700",
            "127.0.0.1.evil:7700",
            "localhost:x",
            "10.0.0.8",
        ] {
            assert!(!hosts.knows(bad), "{bad}");
        }
        assert!(!Hosts::new("0.0.0.0".parse().unwrap(), &[]).knows("0.0.0.0:7700"));
    }

    #[test]
    fn pages_of_others_are_told_by_what_browsers_say() {
        let headers = |pairs: &[(HeaderName, &str)]| -> HeaderMap {
            pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
        };
        let here = |pairs: &[(HeaderName, &str)]| comes_from_here(&headers(pairs), "127.0.0.1:7700");
        assert!(here(&[]) && here(&[(FETCH_SITE, "same-origin"), (ORIGIN, "http://127.0.0.1:7700")]));
        for site in ["cross-site", "same-site", "none"] {
            assert!(!here(&[(FETCH_SITE, site)]), "{site}");
        }
        for origin in ["null", "http://127.0.0.1:7701", "https://127.0.0.1:7700", "http://evil.example"] {
            assert!(!here(&[(ORIGIN, origin)]), "{origin}");
        }
    }
}
