//! `config.toml`: what was chosen once, at `varve init`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use durable_fs::DurableFs;
use serde::{Deserialize, Serialize};
use types::{NodeId, PgVersion};

use super::installation::{Installation, package_bin_dir};

const FORMAT_VERSION: u32 = 1;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub format_version: u32,
    /// First port of the cluster; absent: each part's default port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_base: Option<u16>,
    pub num_safekeepers: u64,
    /// Their ids, once some have come or gone. Absent: from 1 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    safekeepers: Option<Vec<NodeId>>,
    /// Seconds for which nobody must have used a timeline before safekeepers evict it. Absent: their default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safekeeper_evict_after: Option<u64>,
    /// The major version of PostgreSQL that is meant where none is named.
    #[serde(default = "first_version")]
    pub pg_version: PgVersion,
    /// Directory of initdb, postgres and psql of that version. Other versions' are where packages put them.
    pub pg_bin_dir: PathBuf,
    /// Set where the user `postgres` cannot reach the cluster's own directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_directory: Option<PathBuf>,
    /// Object storage of all daemons, in words that they understand. Absent: a directory below the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_storage: Option<toml::Table>,
    /// Whether the parts speak TLS among themselves. Set by `varve up --tls` and `varve container init --tls`, and read by
    /// whatever starts parts elsewhere: docker/storage-entrypoint, packaging/lib/with-tls.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
    /// Names in the certificate of endpoints, beside this machine's own. Absent: none were ever given, or to a version that did
    /// not keep them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_names: Option<Vec<String>>,
    /// The OpenTelemetry collector that all parts send spans to. Absent: nothing is traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<String>,
    /// Share of what begins without a trace that is traced. Absent: the parts' default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_ratio: Option<f64>,
    /// Set where the parts are no processes of this machine, but containers for instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Hosts>,
}

/// Names of the hosts of the parts. A part is alone on its host, and listens on its default port there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hosts {
    pub broker: String,
    pub pageserver: String,
    /// In the order of their ids.
    pub safekeepers: Vec<String>,
    /// Hosts that run computes and no storage, as far as they have certificates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub computes: Vec<String>,
    /// Other hosts with certificates, those that are to come for instance, and further names of hosts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, Vec<String>>,
}

impl Hosts {
    pub fn new(broker: &str, pageserver: &str, safekeepers: &[String]) -> Hosts {
        Hosts {
            broker: broker.to_owned(),
            pageserver: pageserver.to_owned(),
            safekeepers: safekeepers.to_vec(),
            computes: Vec::new(),
            names: BTreeMap::new(),
        }
    }

    /// Whether the same parts have the same hosts.
    pub fn has_parts_of(&self, other: &Hosts) -> bool {
        (&self.broker, &self.pageserver, &self.safekeepers)
            == (&other.broker, &other.pageserver, &other.safekeepers)
    }

    /// Where storage is, each host once.
    pub fn of_storage(&self) -> BTreeSet<&str> {
        let parts = [&self.broker, &self.pageserver].into_iter().chain(&self.safekeepers);
        parts.map(String::as_str).collect()
    }
}

/// Clusters that were made when there was no other.
const fn first_version() -> PgVersion {
    PgVersion::V15
}

impl Config {
    pub fn new(
        port_base: Option<u16>,
        num_safekeepers: u64,
        postgres: Installation,
    ) -> anyhow::Result<Config> {
        if num_safekeepers < 3 || num_safekeepers.is_multiple_of(2) || num_safekeepers > 9 {
            bail!("{num_safekeepers} safekeepers make no good quorum: take 3, 5, 7 or 9");
        }
        if port_base.is_some_and(|base| !(1024..=65_535 - Ports::SPAN).contains(&base)) {
            bail!("--port-base must be from 1024 to {}", 65_535 - Ports::SPAN);
        }
        Ok(Config {
            format_version: FORMAT_VERSION,
            port_base,
            num_safekeepers,
            safekeepers: None,
            safekeeper_evict_after: None,
            pg_version: postgres.version,
            pg_bin_dir: postgres.bin_dir,
            compute_directory: None,
            remote_storage: None,
            tls: false,
            tls_names: None,
            otlp_endpoint: None,
            trace_ratio: None,
            hosts: None,
        })
    }

    /// In rising order.
    pub fn safekeeper_ids(&self) -> Vec<NodeId> {
        self.safekeepers.clone().unwrap_or_else(|| (1..=self.num_safekeepers).map(NodeId).collect())
    }

    /// `host` is where it runs, in a cluster whose parts have hosts of their own. One that is there stays as it is.
    pub fn add_safekeeper(&mut self, id: NodeId, host: Option<String>) -> anyhow::Result<()> {
        if !(1..=Ports::SAFEKEEPERS).contains(&id.0) {
            bail!("a safekeeper's id must be from 1 to {}", Ports::SAFEKEEPERS);
        }
        let mut ids = self.safekeeper_ids();
        let Err(at) = ids.binary_search(&id) else { return Ok(()) };
        match (&mut self.hosts, host) {
            (Some(hosts), Some(host)) => hosts.safekeepers.insert(at, host),
            (Some(_), None) => {
                bail!("parts of this cluster have hosts of their own: say with --host where it runs")
            }
            (None, Some(_)) => {
                bail!("the parts of this cluster are processes of this machine: --host is for others")
            }
            (None, None) => {}
        }
        ids.insert(at, id);
        self.set_safekeepers(ids);
        Ok(())
    }

    pub fn remove_safekeeper(&mut self, id: NodeId) {
        let mut ids = self.safekeeper_ids();
        let Ok(at) = ids.binary_search(&id) else { return };
        if let Some(hosts) = &mut self.hosts {
            hosts.safekeepers.remove(at);
        }
        ids.remove(at);
        self.set_safekeepers(ids);
    }

    fn set_safekeepers(&mut self, ids: Vec<NodeId>) {
        self.num_safekeepers = ids.len() as u64;
        self.safekeepers = Some(ids);
    }

    /// Of a cluster whose parts have hosts of their own.
    pub fn with_hosts(hosts: Hosts, postgres: Installation) -> anyhow::Result<Config> {
        let safekeepers = hosts.safekeepers.len() as u64;
        Ok(Config { hosts: Some(hosts), ..Config::new(None, safekeepers, postgres)? })
    }

    pub fn load(path: &Path) -> anyhow::Result<Config> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let config: Config =
            toml::from_str(&text).with_context(|| format!("{} is not understood", path.display()))?;
        if config.format_version != FORMAT_VERSION {
            bail!(
                "{} has format version {}, this varve reads {FORMAT_VERSION}",
                path.display(),
                config.format_version
            );
        }
        if config.hosts.as_ref().is_some_and(|h| h.safekeepers.len() as u64 != config.num_safekeepers) {
            bail!("{} names other than num_safekeepers hosts of safekeepers", path.display());
        }
        Ok(config)
    }

    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        Ok(DurableFs::default().write_atomically(path, toml::to_string(self)?.as_bytes())?)
    }

    /// Directory of the programs of that version, whether it is installed or not.
    pub fn pg_bin_dir(&self, version: PgVersion) -> PathBuf {
        if version == self.pg_version { self.pg_bin_dir.clone() } else { package_bin_dir(version) }
    }

    pub const fn ports(&self) -> Ports {
        Ports { base: self.port_base, own_hosts: self.hosts.is_some() }
    }

    /// What every part is told of traces.
    pub fn trace_arguments(&self) -> Vec<String> {
        let endpoint = self.otlp_endpoint.iter().map(|url| format!("--otlp-endpoint={url}"));
        let ratio = self.trace_ratio.iter().map(|ratio| format!("--trace-ratio={ratio}"));
        endpoint.chain(ratio).collect()
    }

    // Where the others reach a part, as host:port.

    pub fn broker_address(&self) -> String {
        self.address(|hosts| Some(&hosts.broker), self.ports().broker())
    }

    pub fn pageserver_pg_address(&self) -> String {
        self.address(|hosts| Some(&hosts.pageserver), self.ports().pageserver_pg())
    }

    pub fn pageserver_http_address(&self) -> String {
        self.address(|hosts| Some(&hosts.pageserver), self.ports().pageserver_http())
    }

    pub fn safekeeper_pg_address(&self, id: NodeId) -> String {
        self.address(|hosts| self.host_of_safekeeper(hosts, id), self.ports().safekeeper_pg(id.0))
    }

    pub fn safekeeper_http_address(&self, id: NodeId) -> String {
        self.address(|hosts| self.host_of_safekeeper(hosts, id), self.ports().safekeeper_http(id.0))
    }

    fn host_of_safekeeper<'a>(&self, hosts: &'a Hosts, id: NodeId) -> Option<&'a String> {
        hosts.safekeepers.get(self.safekeeper_ids().binary_search(&id).ok()?)
    }

    fn address<'a>(&'a self, host: impl Fn(&'a Hosts) -> Option<&'a String>, port: u16) -> String {
        let host = self.hosts.as_ref().and_then(host).map_or("127.0.0.1", String::as_str);
        format!("{host}:{port}")
    }
}

/// Which part listens where.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    base: Option<u16>,
    /// Safekeepers do not share a host, and need not differ in their ports.
    own_hosts: bool,
}

impl Ports {
    /// Ports that a cluster with `--port-base` may use, from the base on.
    pub const SPAN: u16 = 200;
    /// The highest id of a safekeeper.
    pub const SAFEKEEPERS: u64 = 19;

    pub const fn broker(self) -> u16 {
        self.pick(50051, 0)
    }

    pub const fn pageserver_pg(self) -> u16 {
        self.pick(64000, 1)
    }

    pub const fn pageserver_http(self) -> u16 {
        self.pick(9898, 2)
    }

    /// Of the pages that `varve console` serves.
    pub const fn console(self) -> u16 {
        self.pick(7700, 3)
    }

    pub const fn safekeeper_pg(self, id: u64) -> u16 {
        let id = self.on_its_host(id);
        self.pick(5453 + id, 10 + id)
    }

    pub const fn safekeeper_http(self, id: u64) -> u16 {
        let id = self.on_its_host(id);
        self.pick(7675 + id, 30 + id)
    }

    const fn on_its_host(self, id: u64) -> u16 {
        if self.own_hosts { 1 } else { id as u16 }
    }

    /// Port of the n-th endpoint, counted from 0.
    pub const fn endpoint_pg(self, n: u16) -> u16 {
        self.pick(55432 + n, 100 + n)
    }

    pub const fn endpoint_http(self, n: u16) -> u16 {
        self.pick(3080 + n, 150 + n)
    }

    const fn pick(self, default: u16, offset: u16) -> u16 {
        match self.base {
            Some(base) => base + offset,
            None => default,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_its_directory() {
        let mut config = Config::new(None, 3, Installation::of_a_test()).unwrap();
        assert_eq!(config.pg_bin_dir(PgVersion::V17), Path::new("/bin"));
        assert_eq!(config.pg_bin_dir(PgVersion::V15), Path::new("/usr/lib/postgresql/15/bin"));
        // A file that says nothing of a version was written when there was only one.
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        config.save(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("pg_version = 17\n", "")).unwrap();
        config = Config::load(&path).unwrap();
        assert_eq!(config.pg_version, PgVersion::V15);
    }

    #[test]
    fn no_port_is_given_twice() {
        for base in [None, Some(20_000)] {
            let ports = Ports { base, own_hosts: false };
            let mut all =
                vec![ports.broker(), ports.pageserver_pg(), ports.pageserver_http(), ports.console()];
            all.extend(
                (1..=Ports::SAFEKEEPERS).flat_map(|id| [ports.safekeeper_pg(id), ports.safekeeper_http(id)]),
            );
            all.extend((0..50).flat_map(|n| [ports.endpoint_pg(n), ports.endpoint_http(n)]));
            assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
            assert!(base.is_none_or(|base| all.iter().all(|port| (base..base + Ports::SPAN).contains(port))));
        }
    }

    #[test]
    fn parts_with_hosts_of_their_own_have_default_ports_there() {
        let hosts = |count: usize| {
            let safekeepers: Vec<String> = (1..=count).map(|id| format!("wal{id}")).collect();
            Hosts::new("broker", "pages", &safekeepers)
        };
        let config = Config::with_hosts(hosts(3), Installation::of_a_test()).unwrap();
        assert_eq!(config.pageserver_pg_address(), "pages:64000");
        assert_eq!(config.safekeeper_pg_address(NodeId(2)), "wal2:5454");
        assert_eq!(config.safekeeper_http_address(NodeId(3)), "wal3:7676");
        assert!(Config::with_hosts(hosts(2), Installation::of_a_test()).is_err());
        let local = Config::new(None, 3, Installation::of_a_test()).unwrap();
        assert_eq!(local.safekeeper_pg_address(NodeId(2)), "127.0.0.1:5455");

        // They keep their hosts when others come and go.
        let mut changed = config.clone();
        changed.add_safekeeper(NodeId(5), Some("far".into())).unwrap();
        changed.remove_safekeeper(NodeId(1));
        assert_eq!(changed.safekeeper_ids(), [2, 3, 5].map(NodeId));
        assert_eq!(changed.safekeeper_pg_address(NodeId(3)), "wal3:5454");
        assert_eq!(changed.safekeeper_http_address(NodeId(5)), "far:7676");
        for (mut config, host, says) in
            [(changed, None, "--host"), (local, Some("far".into()), "of this machine")]
        {
            let refusal = config.add_safekeeper(NodeId(4), host).unwrap_err().to_string();
            assert!(refusal.contains(says), "{refusal}");
        }

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        config.save(&path).unwrap();
        assert_eq!(Config::load(&path).unwrap().hosts, config.hosts);
        Config { num_safekeepers: 5, ..config }.save(&path).unwrap();
        assert!(Config::load(&path).is_err());
    }

    #[test]
    fn bad_choices_are_named() {
        for (base, safekeepers) in [(None, 2), (None, 1), (None, 11), (Some(80), 3), (Some(65_500), 3)] {
            assert!(
                Config::new(base, safekeepers, Installation::of_a_test()).is_err(),
                "{base:?} {safekeepers}"
            );
        }
    }
}
