//! `config.toml`: what was chosen once, at `varve init`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use durable_fs::DurableFs;
use serde::{Deserialize, Serialize};

const FORMAT_VERSION: u32 = 1;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub format_version: u32,
    /// First port of the cluster; absent: each part's default port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_base: Option<u16>,
    pub num_safekeepers: u64,
    /// Directory of initdb, postgres and psql.
    pub pg_bin_dir: PathBuf,
    /// Set where the user `postgres` cannot reach the cluster's own directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_directory: Option<PathBuf>,
}

impl Config {
    pub fn new(port_base: Option<u16>, num_safekeepers: u64, pg_bin_dir: PathBuf) -> anyhow::Result<Config> {
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
            pg_bin_dir,
            compute_directory: None,
        })
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
        Ok(config)
    }

    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        Ok(DurableFs::default().write_atomically(path, toml::to_string(self)?.as_bytes())?)
    }

    pub const fn ports(&self) -> Ports {
        Ports { base: self.port_base }
    }
}

/// Which part listens where. All on 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    base: Option<u16>,
}

impl Ports {
    /// Ports that a cluster with `--port-base` may use, from the base on.
    pub const SPAN: u16 = 200;

    pub const fn broker(self) -> u16 {
        self.pick(50051, 0)
    }

    pub const fn pageserver_pg(self) -> u16 {
        self.pick(64000, 1)
    }

    pub const fn pageserver_http(self) -> u16 {
        self.pick(9898, 2)
    }

    pub const fn safekeeper_pg(self, id: u64) -> u16 {
        self.pick(5453 + id as u16, 10 + id as u16)
    }

    pub const fn safekeeper_http(self, id: u64) -> u16 {
        self.pick(7675 + id as u16, 30 + id as u16)
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
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        for base in [None, Some(20_000)] {
            let ports = Ports { base };
            let mut all = vec![ports.broker(), ports.pageserver_pg(), ports.pageserver_http()];
            all.extend((1..=9).flat_map(|id| [ports.safekeeper_pg(id), ports.safekeeper_http(id)]));
            all.extend((0..50).flat_map(|n| [ports.endpoint_pg(n), ports.endpoint_http(n)]));
            assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
            assert!(base.is_none_or(|base| all.iter().all(|port| (base..base + Ports::SPAN).contains(port))));
        }
    }

    #[test]
    fn bad_choices_are_named() {
        for (base, safekeepers) in [(None, 2), (None, 1), (None, 11), (Some(80), 3), (Some(65_500), 3)] {
            assert!(Config::new(base, safekeepers, "/bin".into()).is_err(), "{base:?} {safekeepers}");
        }
    }
}
