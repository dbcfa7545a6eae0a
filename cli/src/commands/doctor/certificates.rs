//! Certificates: whether they are good, and for how long yet; whether key and certificate fit, who has signed them, and
//! whether they are of whom they should be. What lies here is looked at, also where no part runs.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use auth::{AuthError, Certificate, CertificateFiles, Doubt, doubt, runs_out};
use jiff::Timestamp;

use super::finding::{Finding, Verdict};
use crate::local_env::{LocalEnv, Whose, bare};

const SUBJECT: &str = "certificates";
/// From here on it is time for another one.
const SOON: Duration = Duration::from_secs(30 * 24 * 3600);

/// A certificate that somebody shows.
struct Shown {
    /// As in "the certificate of …".
    whose: String,
    certificate: PathBuf,
    /// Absent where it has gone to its host.
    key: Option<PathBuf>,
    /// Whom those believe that are shown it, if it is known.
    authority: Option<PathBuf>,
    /// Under which name or address they reach who shows it. None where clients have names of their own for it.
    host: Option<String>,
    /// How another one is made.
    renew: String,
}

pub fn examine(env: &LocalEnv) -> Vec<Finding> {
    let shown: Vec<Shown> = of_parts(env).into_iter().chain(of_endpoints(env)).collect();
    if shown.is_empty() {
        return Vec::new();
    }
    let now = SystemTime::now();
    let mut findings: Vec<Finding> = shown.iter().filter_map(|one| judge(one, now)).collect();
    findings.extend(missing(env));
    let believed = [Whose::Parts, Whose::Endpoints]
        .into_iter()
        .filter(|whose| *whose == Whose::Endpoints || env.config.tls);
    let believed = believed.map(|whose| env.certificates.authority(whose)).filter(|file| file.exists());
    let authorities = believed.map(|file| Shown {
        whose: "the authority".to_owned(),
        certificate: file,
        key: None,
        authority: None,
        host: None,
        renew: "Whoever believes it has to believe another one, first both: docs/security.md".to_owned(),
    });
    let authorities: Vec<Shown> = authorities.collect();
    findings.extend(authorities.iter().filter_map(|one| judge(one, now)));
    if findings.is_empty() {
        let ends =
            shown.iter().chain(&authorities).filter_map(|one| runs_out(&one.certificate).ok().flatten());
        let until = ends.min().map_or_else(|| "for ever".to_owned(), |end| format!("until {}", day(end)));
        let count = shown.len();
        findings.push(Finding::good(
            SUBJECT,
            format!("{count} of this cluster's are as they should be, {until}"),
        ));
    }
    findings
}

fn of_parts(env: &LocalEnv) -> Vec<Shown> {
    if !env.config.tls {
        return Vec::new();
    }
    let varve = env.varve();
    let authority = Some(env.certificates.authority(Whose::Parts));
    let Some(hosts) = &env.config.hosts else {
        let pair = env.certificates.of(Whose::Parts).into_iter();
        return pair
            .map(|(certificate, key)| Shown {
                whose: "the parts".to_owned(),
                certificate,
                key: Some(key),
                authority: authority.clone(),
                host: Some("127.0.0.1".to_owned()),
                renew: format!(
                    "`{varve} auth certificate --parts` makes another one, which is taken on while everything runs."
                ),
            })
            .collect();
    };
    let mut shown = Vec::new();
    for host in hosts.certified().into_keys() {
        let (certificate, key) = env.certificates.of_host(hosts, host);
        // In a container or on a machine there is no more than its own.
        if certificate.exists() {
            shown.push(Shown {
                whose: format!("the parts on {host}"),
                certificate,
                key: Some(key).filter(|key| key.exists()),
                authority: authority.clone(),
                host: Some(bare(host).to_owned()),
                renew: new_one_for(env, host),
            });
        }
    }
    shown
}

fn new_one_for(env: &LocalEnv, host: &str) -> String {
    format!(
        "`{} auth certificate --host {host}` makes one where the cluster's private key is; a machine of its own gets that directory.",
        env.varve()
    )
}

/// Hosts that need one and have none. Only where they are signed, all of them lie.
fn missing(env: &LocalEnv) -> Vec<Finding> {
    let Some(hosts) = env.config.hosts.as_ref().filter(|_| env.config.tls) else { return Vec::new() };
    if !env.certificates.can_sign(Whose::Parts) {
        return Vec::new();
    }
    let without = env.certificates.hosts_without(hosts);
    without.map(|host| Finding::bad(SUBJECT, format!("{host} has none"), new_one_for(env, host))).collect()
}

fn of_endpoints(env: &LocalEnv) -> Option<Shown> {
    let (certificate, key) = env.certificates.of(Whose::Endpoints)?;
    Some(Shown {
        whose: "endpoints".to_owned(),
        certificate,
        key: Some(key),
        authority: Some(env.certificates.authority(Whose::Endpoints)).filter(|file| file.exists()),
        host: None,
        renew: format!(
            "`{} auth certificate` makes another one, for other names with --tls-name; or put your own in its place.",
            env.varve()
        ),
    })
}

/// The worst thing about it.
fn judge(shown: &Shown, now: SystemTime) -> Option<Finding> {
    let Shown { whose, certificate, renew, .. } = shown;
    let found = |verdict: Verdict, seen: String| {
        let seen = format!("that of {whose} ({}) {seen}", certificate.display());
        Some(Finding { verdict, ..Finding::bad(SUBJECT, seen, renew.clone()) })
    };
    let end = match pair_fits(shown).and_then(|()| runs_out(certificate)) {
        Ok(end) => end,
        Err(error) => {
            return Some(Finding::bad(SUBJECT, format!("that of {whose}: {error}"), renew.clone()));
        }
    };
    if let Some(end) = end.filter(|end| *end < now) {
        return found(Verdict::Bad, format!("ran out on {}", day(end)));
    }
    match doubt_of(shown) {
        // Clients may believe somebody else, of whom this cluster knows nothing.
        Ok(Some(doubt)) if shown.host.is_none() => {
            return found(
                Verdict::Warning,
                format!("is refused by clients that believe tls/ca.pem: {doubt}"),
            );
        }
        Ok(Some(doubt)) => return found(Verdict::Bad, format!("is refused by all other parts: {doubt}")),
        Ok(None) => {}
        Err(error) => return found(Verdict::Bad, format!("cannot be judged: {error}")),
    }
    match end.filter(|end| *end < now + SOON) {
        Some(end) => found(Verdict::Warning, format!("runs out on {}", day(end))),
        None => None,
    }
}

fn pair_fits(shown: &Shown) -> Result<(), AuthError> {
    let Some(key) = shown.key.clone() else { return Ok(()) };
    Certificate::load(&CertificateFiles { certificate: shown.certificate.clone(), key }).map(drop)
}

/// In words.
fn doubt_of(shown: &Shown) -> Result<Option<String>, AuthError> {
    let Some(authority) = &shown.authority else { return Ok(None) };
    let host = shown.host.as_deref();
    let doubt = doubt(&shown.certificate, authority, host.unwrap_or("localhost"))?;
    Ok(doubt.and_then(|doubt| match doubt {
        Doubt::Issuer => Some("none of those who are believed has signed it".to_owned()),
        Doubt::Name => host.map(|host| format!("it is not of {host}")),
        Doubt::Other(why) => Some(why),
    }))
}

fn day(time: SystemTime) -> String {
    Timestamp::try_from(time)
        .map_or_else(|_| "a day far away".to_owned(), |time| time.strftime("%Y-%m-%d").to_string())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rcgen::{CertificateParams, DistinguishedName, DnType, Issuer, KeyPair, date_time_ymd};

    use super::*;
    use crate::local_env::{Config, Hosts, Installation};

    const DAY: Duration = Duration::from_secs(24 * 3600);

    /// In its place, one that the cluster's own authority over parts has signed as well.
    fn replace(env: &LocalEnv, pair: &(PathBuf, PathBuf), name: &str, end: SystemTime) {
        let authority_key =
            std::fs::read_to_string(env.directory.join("auth/private/parts-ca-key.pem")).unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.distinguished_name = DistinguishedName::new();
        authority.distinguished_name.push(DnType::CommonName, "Varve cluster, parts");
        let issuer = Issuer::new(authority, KeyPair::from_pem(&authority_key).unwrap());
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let end = jiff::tz::Offset::UTC.to_datetime(Timestamp::try_from(end).unwrap());
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after =
            date_time_ymd(end.year().into(), end.month().unsigned_abs(), end.day().unsigned_abs());
        let key = KeyPair::generate().unwrap();
        std::fs::write(&pair.0, params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        std::fs::write(&pair.1, key.serialize_pem()).unwrap();
    }

    fn only(findings: &[Finding]) -> (Verdict, &str, &str) {
        let [finding] = findings else { panic!("{findings:?}") };
        (finding.verdict, &finding.seen, finding.advice.as_deref().unwrap_or_default())
    }

    fn says(findings: &[Finding], verdict: Verdict, seen: &str, advice: &str) {
        let found = only(findings);
        assert!(found.0 == verdict && found.1.contains(seen) && found.2.contains(advice), "{found:?}");
    }

    fn with_hosts(place: &Path) -> LocalEnv {
        let hosts = Hosts::new("db1", "db1", &["db1", "db2", "db3"].map(str::to_owned));
        let mut config = Config::with_hosts(hosts, Installation::of_a_test()).unwrap();
        config.tls = true;
        LocalEnv::create(place, config).unwrap()
    }

    #[test]
    fn a_cluster_without_certificates_has_none_to_look_after() {
        let place = tempfile::tempdir().unwrap();
        let config = Config::new(None, 3, Installation::of_a_test()).unwrap();
        let env = LocalEnv::create(place.path(), config).unwrap();
        assert_eq!(examine(&env), []);
    }

    #[test]
    fn what_is_wrong_with_those_of_one_machine_is_told_apart() {
        let place = tempfile::tempdir().unwrap();
        let mut config = Config::new(None, 3, Installation::of_a_test()).unwrap();
        config.tls = true;
        let env = LocalEnv::create(place.path(), config).unwrap();
        env.certificates.sign(Whose::Endpoints, &[]).unwrap();
        says(&examine(&env), Verdict::Good, "2 of this cluster's are as they should be, until 20", "");

        let parts = env.certificates.of(Whose::Parts).unwrap();
        let now = SystemTime::now();
        let command = "auth certificate --parts`";
        replace(&env, &parts, "127.0.0.1", now + 10 * DAY);
        says(&examine(&env), Verdict::Warning, &format!("runs out on {}", day(now + 10 * DAY)), command);
        replace(&env, &parts, "127.0.0.1", now + 40 * DAY);
        says(&examine(&env), Verdict::Good, &day(now + 40 * DAY), "");
        replace(&env, &parts, "127.0.0.1", now - 3 * DAY);
        says(&examine(&env), Verdict::Bad, &format!("ran out on {}", day(now - 3 * DAY)), command);
        replace(&env, &parts, "db7", now + 40 * DAY);
        says(&examine(&env), Verdict::Bad, "is refused by all other parts: it is not of 127.0.0.1", command);
        std::fs::write(&parts.1, KeyPair::generate().unwrap().serialize_pem()).unwrap();
        says(&examine(&env), Verdict::Bad, "do not fit", command);
        // What an endpoint has makes no part.
        let (certificate, key) = env.certificates.of(Whose::Endpoints).unwrap();
        std::fs::copy(&certificate, &parts.0).unwrap();
        std::fs::copy(&key, &parts.1).unwrap();
        says(&examine(&env), Verdict::Bad, "none of those who are believed has signed it", command);
        std::fs::remove_file(&parts.0).unwrap();
        env.certificates.sign(Whose::Parts, &[]).unwrap();
        says(&examine(&env), Verdict::Good, "2 of", "");

        // One of somebody else's in the place of an endpoint's is for them to know.
        std::fs::copy(&parts.0, &certificate).unwrap();
        std::fs::copy(&parts.1, &key).unwrap();
        says(&examine(&env), Verdict::Warning, "clients that believe tls/ca.pem", "--tls-name");
        std::fs::write(env.certificates.authority(Whose::Endpoints), "").unwrap();
        assert!(examine(&env).iter().any(|finding| finding.seen.contains("does not hold a certificate")));
    }

    #[test]
    fn of_hosts_each_is_named_with_its_command() {
        let place = tempfile::tempdir().unwrap();
        let env = with_hosts(place.path());
        says(&examine(&env), Verdict::Good, "4 of this cluster's", "");
        let pair = |host: &str| env.certificates.of_host(env.config.hosts.as_ref().unwrap(), host);
        // A key that has gone to its machine is no trouble, and a certificate that was never made is.
        std::fs::remove_file(pair("db2").1).unwrap();
        says(&examine(&env), Verdict::Good, "4 of this cluster's", "");
        replace(&env, &pair("db2"), "db3", SystemTime::now() + 90 * DAY);
        says(&examine(&env), Verdict::Bad, "the parts on db2", "auth certificate --host db2`");
        std::fs::remove_dir_all(pair("db2").0.parent().unwrap()).unwrap();
        says(&examine(&env), Verdict::Bad, "db2 has none", "auth certificate --host db2`");
        // On a machine with a copy there is nothing of others.
        std::fs::remove_dir_all(place.path().join("auth/private")).unwrap();
        says(&examine(&env), Verdict::Good, "3 of this cluster's", "");
    }
}
