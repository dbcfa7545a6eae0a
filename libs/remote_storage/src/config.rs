//! Which object store a daemon uses, as its configuration names it.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use durable_fs::DurableFs;
use serde::Deserialize;
use toml::de::ValueDeserializer;

use crate::{LocalDir, ObjectKey, RemoteError, RemoteStorage, S3Bucket, S3Config};

/// Requests to a bucket at a time.
const CONCURRENCY_LIMIT: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Keys")]
pub enum RemoteStorageConfig {
    LocalDir { local_path: PathBuf },
    S3(S3Config),
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    local_path: Option<PathBuf>,
    bucket_name: Option<String>,
    bucket_region: Option<String>,
    endpoint: Option<String>,
    prefix_in_bucket: Option<String>,
    concurrency_limit: Option<usize>,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "not a description of object storage, such as local_path = \"DIRECTORY\" or bucket_name = \"NAME\": {0}"
)]
pub struct ConfigError(String);

impl TryFrom<Keys> for RemoteStorageConfig {
    type Error = String;

    fn try_from(keys: Keys) -> Result<Self, String> {
        let Keys { local_path, bucket_name, bucket_region, endpoint, prefix_in_bucket, concurrency_limit } =
            keys;
        let Some(bucket_name) = bucket_name else {
            let of_buckets = [
                ("bucket_region", bucket_region.is_some()),
                ("endpoint", endpoint.is_some()),
                ("prefix_in_bucket", prefix_in_bucket.is_some()),
                ("concurrency_limit", concurrency_limit.is_some()),
            ];
            let local_path = local_path.ok_or("neither local_path nor bucket_name")?;
            return match of_buckets.iter().find(|(_, is_set)| *is_set) {
                Some((name, _)) => Err(format!("{name} belongs to bucket_name, not to local_path")),
                None => Ok(RemoteStorageConfig::LocalDir { local_path }),
            };
        };
        if local_path.is_some() {
            return Err("local_path and bucket_name: only one of them can be".to_owned());
        }
        if bucket_name.is_empty() {
            return Err("bucket_name is empty".to_owned());
        }
        let is_url = |text: &String| text.starts_with("http://") || text.starts_with("https://");
        if let Some(endpoint) = endpoint.as_ref().filter(|endpoint| !is_url(endpoint)) {
            return Err(format!("endpoint {endpoint:?} begins with neither http:// nor https://"));
        }
        let concurrency_limit = concurrency_limit.unwrap_or(CONCURRENCY_LIMIT);
        if concurrency_limit == 0 {
            return Err("concurrency_limit is 0: nothing could be asked for".to_owned());
        }
        let prefix = prefix_in_bucket.map(|prefix| prefix.trim_matches('/').to_owned());
        let prefix = prefix.filter(|prefix| !prefix.is_empty()).map(ObjectKey::new).transpose();
        let prefix_in_bucket = prefix.map_err(|error| format!("prefix_in_bucket: {error}"))?;
        Ok(RemoteStorageConfig::S3(S3Config {
            bucket_name,
            bucket_region,
            endpoint,
            prefix_in_bucket,
            concurrency_limit,
        }))
    }
}

impl RemoteStorageConfig {
    /// Relative paths are relative to `base`.
    pub async fn open(&self, base: &Path, fs: DurableFs) -> Result<Arc<dyn RemoteStorage>, RemoteError> {
        Ok(match self {
            RemoteStorageConfig::LocalDir { local_path } => {
                Arc::new(LocalDir::open(base.join(local_path), fs).await?)
            }
            RemoteStorageConfig::S3(config) => Arc::new(S3Bucket::open(config).await?),
        })
    }
}

/// A TOML table for a command line: its lines, or all of it in braces.
impl FromStr for RemoteStorageConfig {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let read = match text.trim() {
            text if text.starts_with('{') => ValueDeserializer::parse(text).and_then(Self::deserialize),
            text => toml::from_str(text),
        };
        read.map_err(|error| ConfigError(error.message().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_or_a_bucket() {
        let directory: RemoteStorageConfig = "local_path = \"/x\"".parse().unwrap();
        assert_eq!(directory, RemoteStorageConfig::LocalDir { local_path: "/x".into() });
        assert_eq!(directory, "{ local_path = \"/x\" }".parse().unwrap());
        let bucket: RemoteStorageConfig =
            "bucket_name = \"b\"\nprefix_in_bucket = \"/a/b/\"\nendpoint = \"http://h:1\"".parse().unwrap();
        let RemoteStorageConfig::S3(bucket) = bucket else { panic!("{bucket:?}") };
        assert_eq!(bucket.prefix_in_bucket.unwrap().as_str(), "a/b");
        assert_eq!((bucket.bucket_region, bucket.concurrency_limit), (None, 100));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (bad, why) in [
            ("", "neither local_path nor bucket_name"),
            ("/x", "description"),
            ("local_path = \"a\"\nx = 1", "unknown field"),
            ("local_path = \"a\"\nbucket_name = \"b\"", "only one"),
            ("local_path = \"a\"\nendpoint = \"http://b\"", "endpoint belongs"),
            ("bucket_name = \"\"", "is empty"),
            ("bucket_name = \"b\"\nendpoint = \"host:1\"", "http://"),
            ("bucket_name = \"b\"\nprefix_in_bucket = \"a//b\"", "prefix_in_bucket"),
            ("bucket_name = \"b\"\nconcurrency_limit = 0", "is 0"),
        ] {
            let error = bad.parse::<RemoteStorageConfig>().unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
