//! The parts: whether all are there, of one version, believe this cluster's keys, and agree on the time.

use std::time::{Duration, SystemTime};

use http_client::{HttpClient, HttpError, Method, StatusCode};
use serde::Deserialize;

use super::finding::Finding;
use crate::commands::status::{self, Rows};
use crate::local_env::LocalEnv;

/// Tokens may be refused, and times of commits misleading, from here on.
const MOST_SKEW: Duration = Duration::from_secs(5);

pub async fn examine(env: &LocalEnv) -> anyhow::Result<Vec<Finding>> {
    let rows = status::rows(env).await?;
    let mut findings: Vec<Finding> = rows.troubles(env).into_iter().map(trouble).collect();
    if findings.is_empty() {
        findings.push(Finding::good("parts", all_up(&rows)));
    }
    let mut clocks = Vec::new();
    for (name, address, path) in daemons(env) {
        let client = HttpClient::new("it", &address, env.credentials.clone());
        let asked = SystemTime::now();
        match client.time(&path).await {
            Ok(time) => clocks.push((name.clone(), skew(asked, SystemTime::now(), time))),
            Err(error) => findings.extend(refused(&name, &error, env)),
        }
        findings.extend(other_version(&name, &client, &path, env).await);
    }
    findings.push(clocks_agree(&clocks));
    Ok(findings)
}

/// Trouble that `status` knows of has its command with it.
fn trouble(words: String) -> Finding {
    match words.split_once(". ") {
        Some((seen, advice)) => Finding::bad("parts", seen, advice),
        None => Finding::bad("parts", words, "`varve logs` has what they said"),
    }
}

fn all_up(rows: &Rows) -> String {
    format!("all {} are up", rows.len())
}

/// Name, address, and where it says how it is.
pub fn daemons(env: &LocalEnv) -> Vec<(String, String, String)> {
    let config = &env.config;
    let mut daemons = vec![("the storage broker".to_owned(), config.broker_address(), "/status".to_owned())];
    for id in config.safekeeper_ids() {
        daemons.push((
            format!("safekeeper {id}"),
            config.safekeeper_http_address(id),
            "/v1/status".to_owned(),
        ));
    }
    daemons.push(("the pageserver".to_owned(), config.pageserver_http_address(), "/v1/status".to_owned()));
    daemons
}

fn refused(name: &str, error: &HttpError, env: &LocalEnv) -> Option<Finding> {
    let status = error.status()?;
    if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return None;
    }
    let varve = env.varve();
    Some(Finding::bad(
        "keys",
        format!("{name} does not believe this cluster's keys: {error}"),
        format!(
            "It may run since before keys were made: `{varve} stop` and `{varve} start`. Or its port belongs to another cluster."
        ),
    ))
}

/// The broker has none to say.
async fn other_version(name: &str, client: &HttpClient, path: &str, env: &LocalEnv) -> Option<Finding> {
    #[derive(Deserialize)]
    struct Status {
        version: Option<String>,
    }
    let status: Status = client.json(client.request(Method::GET, path)).await.ok()?;
    let version = status.version?;
    let ours = env!("CARGO_PKG_VERSION");
    let varve = env.varve();
    (version != ours).then(|| {
        Finding::warning(
            "versions",
            format!("{name} is {version}, this varve is {ours}"),
            format!("`{varve} stop` and `{varve} start` have all parts be of one version"),
        )
    })
}

/// How far a clock is from ours, at least: the answer was given at some time between asking and hearing it, and HTTP
/// has whole seconds.
fn skew(asked: SystemTime, heard: SystemTime, theirs: SystemTime) -> Duration {
    let behind = asked.duration_since(theirs + Duration::from_secs(1)).unwrap_or_default();
    let ahead = theirs.duration_since(heard).unwrap_or_default();
    behind.max(ahead)
}

fn clocks_agree(clocks: &[(String, Duration)]) -> Finding {
    match clocks.iter().max_by_key(|(_, skew)| *skew) {
        Some((name, skew)) if *skew > MOST_SKEW => Finding::warning(
            "clocks",
            format!("the clock of {name} is {} s off", skew.as_secs()),
            "Nothing is lost by that, but tokens that expire may be refused, and a moment in the past may be another one than you \
             mean. Have NTP (chrony, systemd-timesyncd) set it.",
        ),
        Some(_) => Finding::good("clocks", format!("those of {} parts agree with this one", clocks.len())),
        None => Finding::warning("clocks", "nobody answered", "see above"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_off_only_beyond_what_cannot_be_told() {
        let at = |seconds: f64| SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds);
        assert_eq!(skew(at(100.9), at(101.1), at(100.0)), Duration::ZERO);
        assert_eq!(skew(at(100.2), at(103.0), at(102.0)), Duration::ZERO);
        assert!(skew(at(100.0), at(100.1), at(90.0)) >= Duration::from_secs(9));
        assert!(skew(at(100.0), at(100.1), at(110.0)) > Duration::from_secs(9));
        let clock = |seconds| [("safekeeper 1".to_owned(), Duration::from_secs(seconds))];
        assert!(clocks_agree(&clock(6)).seen.contains("safekeeper 1 is 6 s off"));
        assert_eq!(clocks_agree(&clock(5)).advice, None);
    }

    #[test]
    fn troubles_are_parted_from_their_commands() {
        let found = trouble("Down: broker. `varve start` starts what is down.".to_owned());
        assert_eq!(
            (found.seen.as_str(), found.advice.as_deref()),
            ("Down: broker", Some("`varve start` starts what is down."))
        );
        assert!(trouble("no full stop".to_owned()).advice.is_some());
    }
}
