//! Certificates of the parts where these have hosts of their own: a pair for each host, which all parts on it show.
//!
//! ```text
//! auth/hosts/HOST/parts.pem       what the parts on a host with storage show
//! auth/hosts/HOST/parts-key.pem   the key of that one (mode 0600); on a machine of its own it lies there alone
//! tls/computes/HOST/              the same for a host that runs computes alone
//! tls/computes/localhost/         for computes that an administrator's command starts, and nobody reaches from outside
//! ```
//! Storage and computes lie apart, so that containers of computes can be without the former: who is a superuser of a
//! database there is the same user of the system as its compute, and reads what that can read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::bail;

use super::{Certificates, Whose};
use crate::local_env::Hosts;

/// The host of those whom nobody reaches from another one.
pub const LOCAL: &str = "localhost";
/// DNS has none that is longer.
const LONGEST: usize = 253;

impl Hosts {
    /// Whoever has a certificate, with the names that are in it.
    pub fn certified(&self) -> BTreeMap<&str, Vec<String>> {
        let known =
            self.of_storage().into_iter().chain(self.computes.iter().map(String::as_str)).chain([LOCAL]);
        let all = known.chain(self.names.keys().map(String::as_str));
        all.map(|host| (host, self.names_of(host))).collect()
    }

    fn names_of(&self, host: &str) -> Vec<String> {
        std::iter::once(bare(host).to_owned())
            .chain(self.names.get(host).into_iter().flatten().cloned())
            .collect()
    }

    /// What it shows is no storage's.
    fn has_computes_alone(&self, host: &str) -> bool {
        let is_one = host == LOCAL || self.computes.iter().any(|compute| compute == host);
        is_one && !self.of_storage().contains(host)
    }
}

impl Certificates {
    /// Certificate and key of the parts on a host, whether they are there or not.
    pub fn of_host(&self, hosts: &Hosts, host: &str) -> (PathBuf, PathBuf) {
        let all =
            if hosts.has_computes_alone(host) { self.directory.join("computes") } else { self.hosts.clone() };
        let own = all.join(host);
        (own.join("parts.pem"), own.join("parts-key.pem"))
    }

    /// Makes it, or another one in its place.
    pub fn sign_host(&self, hosts: &Hosts, host: &str) -> anyhow::Result<()> {
        check_host(host)?;
        self.issue(Whose::Parts, &hosts.names_of(host), &self.of_host(hosts, host))
    }

    /// Those of all hosts, also where that of one cannot be replaced.
    pub fn sign_hosts(&self, hosts: &Hosts) -> anyhow::Result<()> {
        let failed = hosts.certified().into_keys().filter_map(|host| self.sign_host(hosts, host).err());
        let failed: Vec<String> = failed.map(|error| format!("{error:#}")).collect();
        if failed.is_empty() { Ok(()) } else { bail!(failed.join("; ")) }
    }

    /// The same for those that have none yet. A key may have gone to its host; its certificate is left.
    pub fn complete_hosts(&self, hosts: &Hosts) -> anyhow::Result<()> {
        self.hosts_without(hosts).try_for_each(|host| self.sign_host(hosts, host))
    }

    /// Those that should have a certificate, and have none here.
    pub fn hosts_without<'a>(&self, hosts: &'a Hosts) -> impl Iterator<Item = &'a str> {
        hosts.certified().into_keys().filter(|host| !self.of_host(hosts, host).0.exists())
    }

    /// Whether this is where certificates are signed, and not a copy for a machine or a container.
    pub fn can_sign(&self, whose: Whose) -> bool {
        self.authority_key_file(whose).exists()
    }
}

/// As a certificate has it: an address of IPv6 has brackets where a port follows.
pub fn bare(host: &str) -> &str {
    host.trim_matches(['[', ']'])
}

/// It becomes a name of a directory, and stands in a certificate.
pub fn check_host(host: &str) -> anyhow::Result<()> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte);
    let begins = !host.starts_with(['.', '-', ':']) && Path::new(host).components().count() == 1;
    if host.len() > LONGEST || !begins || !host.bytes().all(good) {
        bail!("{host:?} is neither a name of a host nor an address");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::tests::openssl;
    use super::*;

    fn hosts() -> Hosts {
        let safekeepers: Vec<String> = (1..=3).map(|id| format!("safekeeper{id}")).collect();
        let mut hosts = Hosts::new("storage_broker", "pageserver", &safekeepers);
        hosts.computes = vec!["compute".to_owned(), "pageserver".to_owned()];
        hosts.names.insert("safekeeper4".to_owned(), vec!["10.1.2.3".to_owned()]);
        hosts
    }

    #[test]
    fn each_host_has_a_pair_of_its_own_for_its_own_names() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(place.path().join("auth/private")).unwrap();
        let (certificates, hosts) = (Certificates::new(place.path()), hosts());
        assert!(!certificates.can_sign(Whose::Parts));
        certificates.complete_hosts(&hosts).unwrap();
        assert!(certificates.can_sign(Whose::Parts));
        let authority = certificates.authority(Whose::Parts).display().to_string();
        let all = [
            ("storage_broker", "auth/hosts"),
            ("safekeeper1", "auth/hosts"),
            ("safekeeper4", "auth/hosts"),
            // It has a compute, too.
            ("pageserver", "auth/hosts"),
            ("compute", "tls/computes"),
            (LOCAL, "tls/computes"),
        ];
        for (host, lies_in) in all {
            let (certificate, key) = certificates.of_host(&hosts, host);
            assert_eq!(certificate, place.path().join(lies_in).join(host).join("parts.pem"));
            assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600, "{key:?}");
            for (name, _) in all {
                let certificate = certificate.to_str().unwrap();
                let arguments = ["verify", "-x509_strict", "-CAfile", &authority, "-verify_hostname", name];
                let said = openssl(&[&arguments[..], &[certificate]].concat());
                assert_eq!(said.contains(": OK"), name == host || name == LOCAL, "{name} by {host}: {said}");
            }
        }
        let (fourth, _) = certificates.of_host(&hosts, "safekeeper4");
        let fourth = fourth.to_str().unwrap();
        assert!(
            openssl(&["verify", "-CAfile", &authority, "-verify_ip", "10.1.2.3", fourth]).contains(": OK")
        );
    }

    #[test]
    fn what_is_there_stays_also_when_its_key_has_gone() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(place.path().join("auth/private")).unwrap();
        let (certificates, hosts) = (Certificates::new(place.path()), hosts());
        certificates.complete_hosts(&hosts).unwrap();
        let (certificate, key) = certificates.of_host(&hosts, "safekeeper1");
        let before = std::fs::read(&certificate).unwrap();
        std::fs::remove_file(&key).unwrap();
        certificates.complete_hosts(&hosts).unwrap();
        assert!(!key.exists() && std::fs::read(&certificate).unwrap() == before);
        certificates.sign_hosts(&hosts).unwrap();
        assert!(key.exists() && std::fs::read(&certificate).unwrap() != before);

        // One of somebody's own keeps no other from being replaced.
        let (other, _) = certificates.of_host(&hosts, "pageserver");
        std::fs::write(&other, "their own").unwrap();
        let before = std::fs::read(&certificate).unwrap();
        let said = certificates.sign_hosts(&hosts).unwrap_err().to_string();
        assert!(said.contains("auth/hosts/pageserver/parts.pem was not") && !said.contains(';'), "{said}");
        assert_eq!(std::fs::read(&other).unwrap(), b"their own");
        assert_ne!(std::fs::read(&certificate).unwrap(), before);
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        for good in ["db1", "storage_broker", "10.1.2.3", "[fd00::1]", "varve-safekeeper-0.varve-safekeeper"]
        {
            assert!(check_host(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "../private", "a/b", "-x", "a b", &"a".repeat(300)] {
            let said = check_host(bad).unwrap_err().to_string();
            assert!(said.contains("neither a name"), "{said}");
        }
    }
}
