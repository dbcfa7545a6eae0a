//! An error in the words in which it goes to standard error: what was tried and what went wrong, each said once.

use http_client::HttpError;

/// One line, as a rule.
pub fn describe(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain() {
        if let Some(HttpError::Unreachable { service, address, source }) = cause.downcast_ref() {
            // What the HTTP library has to say of its own layers helps nobody: its last cause does.
            let why = root_of(source);
            add(&mut said, &format!("{service} at {address} does not answer ({why})"));
            said.push_str("; `varve status` shows what is down, `varve start` starts it");
            return said;
        }
        add(&mut said, &cause.to_string());
    }
    said
}

/// Many errors name their cause in their own text already.
fn add(said: &mut String, more: &str) {
    if said.contains(more) {
        return;
    }
    if !said.is_empty() {
        said.push_str(": ");
    }
    said.push_str(more);
}

fn root_of(error: &dyn std::error::Error) -> String {
    let mut root = error;
    while let Some(deeper) = root.source() {
        root = deeper;
    }
    let why = root.to_string();
    // What rustls says to a server's plain text.
    if why.contains("InvalidContentType") { format!("it speaks no TLS: {why}") } else { why }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use auth::Credentials;
    use http_client::{HttpClient, Method};

    use super::*;

    #[test]
    fn every_cause_is_said_once() {
        let error = anyhow::anyhow!("port taken").context("cannot listen: port taken").context("no start");
        assert_eq!(describe(&error), "no start: cannot listen: port taken");
    }

    #[tokio::test]
    async fn who_does_not_answer_is_named_with_what_to_do() {
        let nobody =
            HttpClient::new("the pageserver", "127.0.0.1:1", Credentials::fixed("no.bodys.token").unwrap());
        let error = nobody.send(nobody.request(Method::GET, "/")).await.context("no branch").unwrap_err();
        let said = describe(&error);
        assert!(
            said.starts_with("no branch: the pageserver at 127.0.0.1:1 does not answer (Connection refused"),
            "{said}"
        );
        assert!(said.ends_with("`varve start` starts it") && !said.contains("http://"), "{said}");
    }
}
