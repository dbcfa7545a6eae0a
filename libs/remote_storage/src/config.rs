//! Which object store a daemon uses, as its configuration names it.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use durable_fs::DurableFs;
use serde::Deserialize;

use crate::{LocalDir, RemoteError, RemoteStorage};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteStorageConfig {
    pub local_path: PathBuf,
}

#[derive(Debug, thiserror::Error)]
#[error("not a description of object storage, such as local_path = \"DIRECTORY\": {0}")]
pub struct ConfigError(String);

impl RemoteStorageConfig {
    /// Relative paths are relative to `base`.
    pub async fn open(&self, base: &Path, fs: DurableFs) -> Result<Arc<dyn RemoteStorage>, RemoteError> {
        Ok(Arc::new(LocalDir::open(base.join(&self.local_path), fs).await?))
    }
}

/// The lines of a TOML table, for a command line.
impl FromStr for RemoteStorageConfig {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError(error.message().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_refused() {
        let good: RemoteStorageConfig = "local_path = \"/x\"".parse().unwrap();
        assert_eq!(good.local_path, Path::new("/x"));
        for (bad, why) in
            [("", "local_path"), ("/x", "description"), ("local_path = \"a\"\nx = 1", "unknown field")]
        {
            let error = bad.parse::<RemoteStorageConfig>().unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
