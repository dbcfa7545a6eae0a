//! A wrapper that fails on demand: how the rest of the system is tested against a store that misbehaves.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{ListMode, Listing, ObjectKey, Operation, RemoteError, RemoteStorage};

/// How an operation goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not done.
    Refused,
    /// It is done, and whoever asked is told that it failed: the answer was lost.
    LostReply,
    /// Half of the object has come when it fails. What brings no object is refused.
    CutShort,
}

type Judge = dyn Fn(Operation, &str) -> Option<Fault> + Send + Sync;

/// Asks `judge` before each operation, with the key or prefix, whether and how it fails.
pub struct Faulty {
    inner: Arc<dyn RemoteStorage>,
    judge: Box<Judge>,
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Faulty").field(&self.inner).finish()
    }
}

impl Faulty {
    pub fn new(
        inner: Arc<dyn RemoteStorage>,
        judge: impl Fn(Operation, &str) -> Option<Fault> + Send + Sync + 'static,
    ) -> Self {
        Self { inner, judge: Box::new(judge) }
    }

    /// Refuses what `judge` says.
    pub fn refusing(
        inner: Arc<dyn RemoteStorage>,
        judge: impl Fn(Operation, &str) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::new(inner, move |operation, key| judge(operation, key).then_some(Fault::Refused))
    }

    /// What the operation gives, if it is not to fail.
    async fn attempt<T>(
        &self,
        operation: Operation,
        key: &str,
        work: impl Future<Output = Result<T, RemoteError>>,
    ) -> Result<T, RemoteError> {
        match (self.judge)(operation, key) {
            None => work.await,
            Some(Fault::LostReply) => {
                work.await?;
                Err(injected(operation, key))
            }
            Some(Fault::Refused | Fault::CutShort) => Err(injected(operation, key)),
        }
    }
}

fn injected(operation: Operation, key: &str) -> RemoteError {
    RemoteError::Injected { action: operation.verb(), key: key.to_owned() }
}

#[async_trait]
impl RemoteStorage for Faulty {
    async fn put(&self, key: &ObjectKey, body: Bytes) -> Result<(), RemoteError> {
        self.attempt(Operation::Put, key.as_str(), self.inner.put(key, body)).await
    }

    async fn put_file(&self, key: &ObjectKey, path: &Path) -> Result<(), RemoteError> {
        self.attempt(Operation::Put, key.as_str(), self.inner.put_file(key, path)).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, RemoteError> {
        self.attempt(Operation::Get, key.as_str(), self.inner.get(key)).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, RemoteError> {
        self.attempt(Operation::Get, key.as_str(), self.inner.get_range(key, range)).await
    }

    async fn get_to_file(&self, key: &ObjectKey, path: &Path) -> Result<u64, RemoteError> {
        let fault = (self.judge)(Operation::Get, key.as_str());
        if fault == Some(Fault::Refused) {
            return Err(injected(Operation::Get, key.as_str()));
        }
        let size = self.inner.get_to_file(key, path).await?;
        if fault == Some(Fault::CutShort) {
            let file = std::fs::File::options().write(true).open(path);
            let cut = file.and_then(|file| file.set_len(size / 2));
            cut.map_err(|source| RemoteError::Io { action: "cut short", key: key.to_string(), source })?;
        }
        if fault.is_some() { Err(injected(Operation::Get, key.as_str())) } else { Ok(size) }
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<u64>, RemoteError> {
        self.attempt(Operation::Head, key.as_str(), self.inner.head(key)).await
    }

    async fn list(&self, prefix: Option<&ObjectKey>, mode: ListMode) -> Result<Listing, RemoteError> {
        let key = prefix.map_or("", ObjectKey::as_str);
        self.attempt(Operation::List, key, self.inner.list(prefix, mode)).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), RemoteError> {
        self.attempt(Operation::Delete, key.as_str(), self.inner.delete(key)).await
    }
}
