//! The trait that every object store is put behind.

use std::fmt::Debug;
use std::ops::Range;
use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{ObjectKey, RemoteError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    pub key: ObjectKey,
    pub size: u64,
}

/// How deep a listing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListMode {
    /// All objects below the prefix.
    Recursive,
    /// Objects right below the prefix, and the names of the "directories" beside them.
    Children,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// In order of their keys.
    pub objects: Vec<ObjectInfo>,
    /// Full keys without a slash at the end; empty for [`ListMode::Recursive`].
    pub directories: Vec<ObjectKey>,
}

#[async_trait]
pub trait RemoteStorage: Send + Sync + Debug + 'static {
    /// Stores an object, replacing one of that key.
    async fn put(&self, key: &ObjectKey, body: Bytes) -> Result<(), RemoteError>;

    /// Stores a file's contents, without having them in memory at once.
    async fn put_file(&self, key: &ObjectKey, path: &Path) -> Result<(), RemoteError>;

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, RemoteError>;

    /// A part of an object. One that ends behind the object's end is an error.
    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, RemoteError>;

    /// Writes an object to a file, which is created or replaced; returns its size. The file is not made durable,
    /// and is of no use after an error.
    async fn get_to_file(&self, key: &ObjectKey, path: &Path) -> Result<u64, RemoteError>;

    /// Size of an object; none if there is no such object.
    async fn head(&self, key: &ObjectKey) -> Result<Option<u64>, RemoteError>;

    async fn exists(&self, key: &ObjectKey) -> Result<bool, RemoteError> {
        Ok(self.head(key).await?.is_some())
    }

    /// What lies below the "directory" `prefix`; everything if there is none.
    async fn list(&self, prefix: Option<&ObjectKey>, mode: ListMode) -> Result<Listing, RemoteError>;

    /// Removes an object. One that is not there is fine.
    async fn delete(&self, key: &ObjectKey) -> Result<(), RemoteError>;
}

/// What can be done to an object, for those who stand in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Put,
    Get,
    Head,
    List,
    Delete,
}

impl Operation {
    pub const fn name(self) -> &'static str {
        match self {
            Operation::Put => "put",
            Operation::Get => "get",
            Operation::Head => "head",
            Operation::List => "list",
            Operation::Delete => "delete",
        }
    }

    /// For errors.
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
