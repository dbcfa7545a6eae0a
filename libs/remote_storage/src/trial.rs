//! [`try_out`]: whether a store does what the daemons rely on, tried with a few small objects. For an operator who
//! has a new bucket, or doubts an old one.

use bytes::Bytes;

use crate::{BadKeyError, ListMode, Listing, ObjectKey, RemoteError, RemoteStorage};

/// A store that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    #[error(transparent)]
    Name(#[from] BadKeyError),
    #[error("{step} failed: {source}")]
    Failed { step: &'static str, source: RemoteError },
    /// It answers, but not as an object store does.
    #[error("the store does not do what is relied on: {broken}")]
    Broken { broken: &'static str },
}

/// Puts, reads, replaces, lists and removes objects below `place`. Others may be at it in the same place, with another
/// `name`.
pub async fn try_out(store: &dyn RemoteStorage, place: &ObjectKey, name: &str) -> Result<(), TrialError> {
    let (first, below) = (place.join(name)?, place.join("below")?);
    let second = below.join(name)?;
    let outcome = exchange(store, place, &first, &below, &second).await;
    // Whatever came of it. A store that keeps them says so above.
    for key in [&first, &second] {
        if let Err(error) = store.delete(key).await {
            tracing::warn!(%key, %error, "an object of a trial could not be removed");
        }
    }
    outcome
}

async fn exchange(
    store: &dyn RemoteStorage,
    place: &ObjectKey,
    first: &ObjectKey,
    below: &ObjectKey,
    second: &ObjectKey,
) -> Result<(), TrialError> {
    let failed = |step| move |source| TrialError::Failed { step, source };
    let must = |holds: bool, broken| if holds { Ok(()) } else { Err(TrialError::Broken { broken }) };
    for body in [&b"as it was"[..], b"as it is, and longer"] {
        store.put(first, Bytes::from_static(body)).await.map_err(failed("writing an object"))?;
        let found = store.get(first).await.map_err(failed("reading an object"))?;
        must(found == body, "a read after a write does not see what was written")?;
    }
    store.put(second, Bytes::from_static(b"0123456789")).await.map_err(failed("writing an object"))?;
    let part = store.get_range(second, 2..5).await.map_err(failed("reading a part of an object"))?;
    must(part == b"234"[..], "a part of an object is not what stands there")?;
    let size = store.head(second).await.map_err(failed("asking for the size of an object"))?;
    must(size == Some(10), "the size of an object is not what was written")?;
    let listed = store.list(Some(place), ListMode::Recursive).await.map_err(failed("listing objects"))?;
    let has = |listing: &Listing, key| listing.objects.iter().any(|object| &object.key == key);
    must(
        has(&listed, first) && has(&listed, second),
        "a list after writes does not have all that was written",
    )?;
    let listed = store.list(Some(place), ListMode::Children).await.map_err(failed("listing objects"))?;
    let is_told = has(&listed, first) && !has(&listed, second) && listed.directories.contains(below);
    must(is_told, "a list of one level does not tell objects from what lies below")?;
    store.delete(first).await.map_err(failed("removing an object"))?;
    let gone = store.head(first).await.map_err(failed("asking for an object that is gone"))?;
    must(gone.is_none(), "an object is still there after it was removed")?;
    store.delete(first).await.map_err(failed("removing an object that is gone"))
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::path::Path;
    use std::sync::Arc;

    use async_trait::async_trait;
    use durable_fs::DurableFs;

    use super::*;
    use crate::LocalDir;

    /// What a store does wrong.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Vice {
        None,
        StaleRead,
        WholeInsteadOfPart,
        ShortList,
        KeepsForEver,
        RefusesWrites,
    }

    #[derive(Debug)]
    struct Bad(LocalDir, Vice);

    #[async_trait]
    impl RemoteStorage for Bad {
        async fn put(&self, key: &ObjectKey, body: Bytes) -> Result<(), RemoteError> {
            match self.1 {
                Vice::RefusesWrites => Err(RemoteError::NotFound(key.clone())),
                Vice::StaleRead if self.0.exists(key).await? => Ok(()),
                _ => self.0.put(key, body).await,
            }
        }

        async fn put_file(&self, key: &ObjectKey, path: &Path) -> Result<(), RemoteError> {
            self.0.put_file(key, path).await
        }

        async fn get(&self, key: &ObjectKey) -> Result<Bytes, RemoteError> {
            self.0.get(key).await
        }

        async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, RemoteError> {
            if self.1 == Vice::WholeInsteadOfPart {
                self.get(key).await
            } else {
                self.0.get_range(key, range).await
            }
        }

        async fn get_to_file(&self, key: &ObjectKey, path: &Path) -> Result<u64, RemoteError> {
            self.0.get_to_file(key, path).await
        }

        async fn head(&self, key: &ObjectKey) -> Result<Option<u64>, RemoteError> {
            self.0.head(key).await
        }

        async fn list(&self, prefix: Option<&ObjectKey>, mode: ListMode) -> Result<Listing, RemoteError> {
            let mut listing = self.0.list(prefix, mode).await?;
            if self.1 == Vice::ShortList {
                listing.objects.pop();
            }
            Ok(listing)
        }

        async fn delete(&self, key: &ObjectKey) -> Result<(), RemoteError> {
            if self.1 == Vice::KeepsForEver { Ok(()) } else { self.0.delete(key).await }
        }
    }

    #[tokio::test]
    async fn a_good_store_passes_and_each_vice_is_named() {
        for (vice, words) in [
            (Vice::None, ""),
            (Vice::StaleRead, "a read after a write"),
            (Vice::WholeInsteadOfPart, "a part of an object"),
            (Vice::ShortList, "a list after writes"),
            (Vice::KeepsForEver, "still there"),
            (Vice::RefusesWrites, "writing an object failed"),
        ] {
            let place = tempfile::tempdir().unwrap();
            let store = Bad(LocalDir::open(place.path(), DurableFs::default()).await.unwrap(), vice);
            let store: Arc<dyn RemoteStorage> = Arc::new(store);
            let outcome = try_out(&*store, &ObjectKey::new("trial").unwrap(), "one").await;
            match outcome {
                Ok(()) => assert_eq!(vice, Vice::None),
                Err(error) => {
                    assert!(!words.is_empty() && error.to_string().contains(words), "{vice:?}: {error}")
                }
            }
            if vice == Vice::None {
                assert!(store.list(None, ListMode::Recursive).await.unwrap().objects.is_empty());
            }
        }
    }
}
