//! `pageserver.toml`. Unknown keys are refused, so that a misspelt one is not just without effect.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pageserver_api::history::Interval;
use remote_storage::RemoteStorageConfig;
use serde::Deserialize;
use types::NodeId;

use crate::eviction::Limits;
use crate::gc::Retention;
use crate::storage::StorageConfig;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}")]
    Parse { path: PathBuf, source: Box<toml::de::Error> },
    #[error("{path}: tls_cert_file and tls_key_file go together: one of them is missing")]
    HalfACertificate { path: PathBuf },
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub id: NodeId,
    pub listen_pg_addr: String,
    pub listen_http_addr: String,
    pub broker_endpoint: String,
    /// Public keys whose tokens are believed: a file in PEM, or a directory of files that end in .pem. Relative paths
    /// are relative to the working directory of the pageserver.
    pub auth_public_key_path: PathBuf,
    /// The token that this pageserver presents to safekeepers and to the broker: scopes safekeeper and broker.
    pub auth_token_file: PathBuf,
    /// Certificate to show on both ports, in PEM, and its key. Nothing but TLS is spoken there then.
    pub tls_cert_file: Option<PathBuf>,
    pub tls_key_file: Option<PathBuf>,
    /// Whose certificates are believed, in PEM: connections to safekeepers and to the broker are TLS then.
    pub tls_ca_file: Option<PathBuf>,
    pub remote_storage: RemoteStorageConfig,
    #[serde(default)]
    pub storage: StorageSection,
    #[serde(default)]
    pub tenant_config: TenantConfigSection,
    #[serde(default)]
    pub disk_usage_based_eviction: EvictionSection,
    #[serde(default)]
    pub page_service: PageServiceSection,
    #[serde(default)]
    pub wal_receiver: WalReceiverSection,
    /// See [`StorageSection`]: short forms at the top level, as Neon's tools write them.
    pub checkpoint_distance: Option<u64>,
    pub checkpoint_timeout_seconds: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageSection {
    /// Bytes of WAL changes in memory at which they become a layer file.
    pub checkpoint_distance: u64,
    /// Age at which they do even if they are few, so that safekeepers can drop WAL.
    pub checkpoint_timeout_seconds: u64,
    /// Layers flushed from memory that make compaction worth while.
    pub compaction_threshold: usize,
    /// Bytes of a delta layer that compaction makes.
    pub compaction_target_size: u64,
    /// Bytes of an image layer.
    pub image_layer_size: u64,
    /// Changes of one page in a layer flushed from memory from which on an image of it follows them.
    pub image_after_changes: usize,
    /// Changes of one page without an image between them, in the midst of its history.
    pub most_changes_between_images: usize,
    /// Of a pageserver that is told of no safekeepers, and so has nobody who grants it one.
    pub generation: u32,
}

impl Default for StorageSection {
    fn default() -> Self {
        Self {
            checkpoint_distance: 256 << 20,
            checkpoint_timeout_seconds: 600,
            compaction_threshold: 4,
            compaction_target_size: 128 << 20,
            image_layer_size: 256 << 20,
            image_after_changes: 12,
            most_changes_between_images: 32,
            generation: 1,
        }
    }
}

/// Of tenants that have nothing else set.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TenantConfigSection {
    /// How far back any moment can be read.
    pub pitr_interval: Interval,
    /// Bytes of WAL that can be read back at least, however old they are.
    pub gc_horizon: u64,
    /// How often garbage is collected.
    pub gc_period: Interval,
    /// How long what can be read at a leased LSN stays readable.
    pub lsn_lease_length: Interval,
}

impl Default for TenantConfigSection {
    fn default() -> Self {
        Self {
            pitr_interval: Interval(Duration::from_secs(7 * 86_400)),
            gc_horizon: 64 << 20,
            gc_period: Interval(Duration::from_secs(3600)),
            lsn_lease_length: Interval(Duration::from_secs(600)),
        }
    }
}

/// When layers that were not read for long go from the local disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvictionSection {
    /// Percent of the file system that may be used, by whomever.
    pub max_usage_pct: u64,
    /// Bytes of the file system that are to stay free.
    pub min_avail_bytes: u64,
    /// Bytes that layer files may take. Default: as many as there are.
    pub max_layer_bytes: Option<u64>,
    /// How often it is looked how full the disk is.
    pub period: Interval,
}

impl Default for EvictionSection {
    fn default() -> Self {
        Self {
            max_usage_pct: 100,
            min_avail_bytes: 1 << 30,
            max_layer_bytes: None,
            period: Interval(Duration::from_secs(10)),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PageServiceSection {
    /// How long a request waits for WAL that it needs and that has not come.
    pub wait_lsn_timeout_seconds: u64,
    /// Requests of one connection that are worked on at the same time.
    pub requests_in_flight: usize,
    pub max_connections: usize,
    /// A read that takes so long is told in the log, with the layers that it goes through.
    pub slow_read_milliseconds: u64,
}

impl Default for PageServiceSection {
    fn default() -> Self {
        Self {
            wait_lsn_timeout_seconds: 300,
            requests_in_flight: 32,
            max_connections: 2000,
            slow_read_milliseconds: 1000,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WalReceiverSection {
    /// A safekeeper that says nothing for so long is left.
    pub silence_timeout_seconds: u64,
    /// One that sends no WAL for so long while another has more is left too.
    pub lagging_timeout_seconds: u64,
}

impl Default for WalReceiverSection {
    fn default() -> Self {
        Self { silence_timeout_seconds: 10, lagging_timeout_seconds: 3 }
    }
}

impl Config {
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let config: Config = toml::from_str(&text)
            .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })?;
        if config.tls_cert_file.is_some() != config.tls_key_file.is_some() {
            return Err(ConfigError::HalfACertificate { path: path.to_owned() });
        }
        Ok(config)
    }

    pub fn retention(&self) -> Retention {
        let TenantConfigSection { pitr_interval, gc_horizon, .. } = self.tenant_config;
        Retention { pitr_interval: pitr_interval.0, gc_horizon }
    }

    /// When layers are evicted, and how often it is looked.
    pub fn eviction(&self) -> (Limits, Duration) {
        let EvictionSection { max_usage_pct, min_avail_bytes, max_layer_bytes, period } =
            self.disk_usage_based_eviction;
        let limits = Limits {
            max_usage_percent: max_usage_pct,
            min_available_bytes: min_avail_bytes,
            max_layer_bytes,
        };
        // A period of nothing would be a loop without rest.
        (limits, period.0.max(Duration::from_secs(1)))
    }

    pub fn storage(&self, workdir: &Path) -> StorageConfig {
        let section = &self.storage;
        let timeout = self.checkpoint_timeout_seconds.unwrap_or(section.checkpoint_timeout_seconds);
        StorageConfig {
            checkpoint_distance: self.checkpoint_distance.unwrap_or(section.checkpoint_distance),
            checkpoint_timeout: Duration::from_secs(timeout),
            level0_threshold: section.compaction_threshold,
            target_layer_size: section.compaction_target_size,
            image_layer_size: section.image_layer_size,
            image_after_changes: section.image_after_changes,
            most_changes_between_images: section.most_changes_between_images,
            lease_length: self.tenant_config.lsn_lease_length.0,
            ..StorageConfig::new(workdir)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
        id = 1
        listen_pg_addr = "127.0.0.1:64000"
        listen_http_addr = "127.0.0.1:9898"
        broker_endpoint = "http://127.0.0.1:50051"
        auth_public_key_path = "../keys"
        auth_token_file = "../token"
        remote_storage = { local_path = "../remote" }
    "#;

    #[test]
    fn a_small_configuration_is_enough_and_a_misspelt_key_too_much() {
        let config: Config = toml::from_str(SMALL).unwrap();
        assert_eq!(config.storage(Path::new("w")).checkpoint_distance, 256 << 20);
        let config: Config = toml::from_str(&format!("{SMALL}\ncheckpoint_distance = 1000000")).unwrap();
        assert_eq!(config.storage(Path::new("w")).checkpoint_distance, 1_000_000);
        assert!(toml::from_str::<Config>(&format!("{SMALL}\ncheckpoint_distanse = 1")).is_err());
    }
}
