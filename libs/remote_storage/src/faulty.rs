//! A wrapper that fails on demand: how the rest of the system is tested against a store that misbehaves.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{ListMode, Listing, ObjectKey, RemoteError, RemoteStorage};

/// What is about to be done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Put,
    Get,
    Head,
    List,
    Delete,
}

impl Operation {
    pub const fn verb(self) -> &'static str {
        match self {
            Operation::Put => "put",
            Operation::Get => "get",
            Operation::Head => "look up",
            Operation::List => "list",
            Operation::Delete => "delete",
        }
    }
}

type Judge = dyn Fn(Operation, &str) -> bool + Send + Sync;

/// Asks `judge` before each operation, with the key or prefix; `true` means that it fails and is not done.
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
        judge: impl Fn(Operation, &str) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { inner, judge: Box::new(judge) }
    }

    fn ask(&self, operation: Operation, key: &str) -> Result<(), RemoteError> {
        if (self.judge)(operation, key) {
            return Err(RemoteError::Injected { action: operation.verb(), key: key.to_owned() });
        }
        Ok(())
    }
}

#[async_trait]
impl RemoteStorage for Faulty {
    async fn put(&self, key: &ObjectKey, body: Bytes) -> Result<(), RemoteError> {
        self.ask(Operation::Put, key.as_str())?;
        self.inner.put(key, body).await
    }

    async fn put_file(&self, key: &ObjectKey, path: &Path) -> Result<(), RemoteError> {
        self.ask(Operation::Put, key.as_str())?;
        self.inner.put_file(key, path).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, RemoteError> {
        self.ask(Operation::Get, key.as_str())?;
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, RemoteError> {
        self.ask(Operation::Get, key.as_str())?;
        self.inner.get_range(key, range).await
    }

    async fn get_to_file(&self, key: &ObjectKey, path: &Path) -> Result<u64, RemoteError> {
        self.ask(Operation::Get, key.as_str())?;
        self.inner.get_to_file(key, path).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<u64>, RemoteError> {
        self.ask(Operation::Head, key.as_str())?;
        self.inner.head(key).await
    }

    async fn list(&self, prefix: Option<&ObjectKey>, mode: ListMode) -> Result<Listing, RemoteError> {
        self.ask(Operation::List, prefix.map_or("", ObjectKey::as_str))?;
        self.inner.list(prefix, mode).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), RemoteError> {
        self.ask(Operation::Delete, key.as_str())?;
        self.inner.delete(key).await
    }
}
