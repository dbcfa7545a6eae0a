//! The parts: whether all are there, of one version, believe this cluster's keys, and agree on the time.

use std::time::{Duration, SystemTime};

use http_client::{HttpClient, HttpError, StatusCode};
use serde::Deserialize;

use super::finding::Finding;
use crate::commands::status::{self, Rows};
use crate::local_env::LocalEnv;
use crate::storage::Daemon;

/// Tokens may be refused, and times of commits misleading, from here on.
const MOST_SKEW: Duration = Duration::from_secs(5);

pub async fn examine(env: &LocalEnv) -> anyhow::Result<Vec<Finding>> {
    let rows = status::rows(env).await?;
    let mut findings: Vec<Finding> = rows.troubles.iter().map(|words| trouble(words)).collect();
    if findings.is_empty() {
        findings.push(Finding::good("parts", all_up(&rows)));
    }
    let mut clocks = Vec::new();
    for daemon in Daemon::all(env) {
        let (address, path) = daemon.status_at(env);
        let client = HttpClient::new("it", &address, env.credentials.clone());
        let asked = SystemTime::now();
        match client.dated::<Status>(path).await {
            Ok((time, status)) => {
                clocks.push((daemon.in_words(), skew(asked, SystemTime::now(), time)));
                findings.extend(other_version(daemon, status, env));
            }
            Err(error) => findings.extend(refused(daemon, &error, env)),
        }
    }
    findings.push(clocks_agree(&clocks));
    Ok(findings)
}

/// Trouble that `status` knows of has its command with it.
fn trouble(words: &str) -> Finding {
    match words.split_once(". ") {
        Some((seen, advice)) => Finding::bad("parts", seen, advice),
        None => Finding::bad("parts", words, "`varve logs` has what they said"),
    }
}

fn all_up(rows: &Rows) -> String {
    format!("all {} are up", rows.len())
}

fn refused(daemon: Daemon, error: &HttpError, env: &LocalEnv) -> Option<Finding> {
    let status = error.status()?;
    if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return None;
    }
    let varve = env.varve();
    Some(Finding::bad(
        "keys",
        format!("{} does not believe this cluster's keys: {error}", daemon.in_words()),
        format!(
            "It may run since before keys were made: `{varve} stop` and `{varve} start`. Or its port belongs to another cluster."
        ),
    ))
}

/// What every daemon says of itself. The broker says no version.
#[derive(Deserialize)]
struct Status {
    version: Option<String>,
}

fn other_version(daemon: Daemon, status: Status, env: &LocalEnv) -> Option<Finding> {
    let version = status.version?;
    let ours = env!("CARGO_PKG_VERSION");
    let varve = env.varve();
    (version != ours).then(|| {
        Finding::warning(
            "versions",
            format!("{} is {version}, this varve is {ours}", daemon.in_words()),
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
        let found = trouble("Down: broker. `varve start` starts what is down.");
        assert_eq!(
            (found.seen.as_str(), found.advice.as_deref()),
            ("Down: broker", Some("`varve start` starts what is down."))
        );
        assert!(trouble("no full stop").advice.is_some());
    }
}
