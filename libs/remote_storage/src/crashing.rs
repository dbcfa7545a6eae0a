//! A store that ends the process at a crash point.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use durable_fs::CrashPoint;

use crate::{ListMode, Listing, ObjectKey, RemoteError, RemoteStorage};

/// Passes all on to another store, and ends the process before or after what the point names.
#[derive(Debug)]
pub struct Crashing {
    inner: Arc<dyn RemoteStorage>,
    point: CrashPoint,
}

impl Crashing {
    pub fn new(inner: Arc<dyn RemoteStorage>, point: CrashPoint) -> Self {
        Self { inner, point }
    }

    async fn between<T>(
        &self,
        (before, after): (&str, &str),
        key: &ObjectKey,
        work: impl Future<Output = Result<T, RemoteError>>,
    ) -> Result<T, RemoteError> {
        self.point.pass(before, key.as_str());
        let done = work.await?;
        self.point.pass(after, key.as_str());
        Ok(done)
    }
}

const PUT: (&str, &str) = ("before-put", "after-put");
const GET: (&str, &str) = ("before-get", "after-get");
const DELETE: (&str, &str) = ("before-delete", "after-delete");

#[async_trait]
impl RemoteStorage for Crashing {
    async fn put(&self, key: &ObjectKey, body: Bytes) -> Result<(), RemoteError> {
        self.between(PUT, key, self.inner.put(key, body)).await
    }

    async fn put_file(&self, key: &ObjectKey, path: &Path) -> Result<(), RemoteError> {
        self.between(PUT, key, self.inner.put_file(key, path)).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, RemoteError> {
        self.between(GET, key, self.inner.get(key)).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, RemoteError> {
        self.between(GET, key, self.inner.get_range(key, range)).await
    }

    async fn get_to_file(&self, key: &ObjectKey, path: &Path) -> Result<u64, RemoteError> {
        self.between(GET, key, self.inner.get_to_file(key, path)).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<u64>, RemoteError> {
        self.inner.head(key).await
    }

    async fn list(&self, prefix: Option<&ObjectKey>, mode: ListMode) -> Result<Listing, RemoteError> {
        self.inner.list(prefix, mode).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), RemoteError> {
        self.between(DELETE, key, self.inner.delete(key)).await
    }
}
