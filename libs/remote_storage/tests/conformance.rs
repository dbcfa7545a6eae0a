//! The one suite that every object store must pass.

use std::sync::Arc;

use bytes::Bytes;
use durable_fs::DurableFs;
use remote_storage::{Faulty, ListMode, LocalDir, ObjectKey, Operation, RemoteError, RemoteStorage};

fn key(text: &str) -> ObjectKey {
    text.parse().unwrap()
}

async fn conformance(store: &dyn RemoteStorage, scratch: &std::path::Path) {
    get_gives_what_was_put(store).await;
    absent_objects_are_said_to_be_absent(store, scratch).await;
    files_go_in_and_out(store, scratch).await;
    listings_are_complete(store).await;
}

async fn get_gives_what_was_put(store: &dyn RemoteStorage) {
    let name = key("a/b/object");
    for body in [&b"first"[..], b"second, longer", b"", b"0123456789"] {
        store.put(&name, Bytes::copy_from_slice(body)).await.unwrap();
        assert_eq!(store.get(&name).await.unwrap(), body);
        assert_eq!(store.head(&name).await.unwrap(), Some(body.len() as u64));
    }
    assert_eq!(store.get_range(&name, 2..5).await.unwrap(), &b"234"[..]);
    assert_eq!(store.get_range(&name, 10..10).await.unwrap(), &b""[..]);
    assert!(matches!(store.get_range(&name, 5..11).await, Err(RemoteError::BadRange { size: 10, .. })));
    assert!(store.exists(&name).await.unwrap());
    store.delete(&name).await.unwrap();
    assert!(!store.exists(&name).await.unwrap());
}

async fn absent_objects_are_said_to_be_absent(store: &dyn RemoteStorage, scratch: &std::path::Path) {
    store.put(&key("here/object"), Bytes::from_static(b"x")).await.unwrap();
    for absent in [key("absent"), key("here/other"), key("here"), key("here/object/below")] {
        assert!(store.get(&absent).await.unwrap_err().is_not_found(), "{absent}");
        assert!(store.get_range(&absent, 0..1).await.unwrap_err().is_not_found(), "{absent}");
        assert!(
            store.get_to_file(&absent, &scratch.join("absent")).await.unwrap_err().is_not_found(),
            "{absent}"
        );
        assert_eq!(store.head(&absent).await.unwrap(), None, "{absent}");
        store.delete(&absent).await.unwrap();
    }
    assert!(store.exists(&key("here/object")).await.unwrap());
    store.delete(&key("here/object")).await.unwrap();
}

async fn files_go_in_and_out(store: &dyn RemoteStorage, scratch: &std::path::Path) {
    let body: Vec<u8> = (0..300_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    let (source, target) = (scratch.join("source"), scratch.join("target"));
    std::fs::write(&source, &body).unwrap();
    std::fs::write(&target, b"what was here before, which must go").unwrap();
    store.put_file(&key("file"), &source).await.unwrap();
    assert_eq!(store.get_to_file(&key("file"), &target).await.unwrap(), body.len() as u64);
    assert_eq!(std::fs::read(&target).unwrap(), body);
    assert!(store.put_file(&key("file2"), &scratch.join("no such file")).await.is_err());
    assert!(!store.exists(&key("file2")).await.unwrap(), "a failed put left an object");
    store.delete(&key("file")).await.unwrap();
}

async fn listings_are_complete(store: &dyn RemoteStorage) {
    let keys = ["t/1/x", "t/1/y", "t/2/z/deep", "t/file", "top", "tt/other"];
    for name in keys {
        store.put(&key(name), Bytes::copy_from_slice(name.as_bytes())).await.unwrap();
    }
    let names = |listing: &remote_storage::Listing| -> Vec<String> {
        listing.objects.iter().map(|object| format!("{} {}", object.key, object.size)).collect()
    };
    let all = store.list(None, ListMode::Recursive).await.unwrap();
    assert_eq!(names(&all), keys.map(|name| format!("{name} {}", name.len())));
    let below = store.list(Some(&key("t")), ListMode::Recursive).await.unwrap();
    assert_eq!(names(&below), ["t/1/x 5", "t/1/y 5", "t/2/z/deep 10", "t/file 6"]);
    let children = store.list(Some(&key("t")), ListMode::Children).await.unwrap();
    assert_eq!(names(&children), ["t/file 6"]);
    assert_eq!(children.directories, [key("t/1"), key("t/2")]);
    let nothing = store.list(Some(&key("nowhere")), ListMode::Recursive).await.unwrap();
    assert_eq!(nothing, remote_storage::Listing::default());
    for name in keys {
        store.delete(&key(name)).await.unwrap();
    }
}

async fn local_dir(root: &std::path::Path) -> LocalDir {
    LocalDir::open(root.join("store"), DurableFs::default()).await.unwrap()
}

#[tokio::test]
async fn local_dir_conforms() {
    let directory = tempfile::tempdir().unwrap();
    conformance(&local_dir(directory.path()).await, directory.path()).await;
}

#[tokio::test]
async fn faulty_that_never_fails_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let store = Faulty::new(Arc::new(local_dir(directory.path()).await), |_, _| false);
    conformance(&store, directory.path()).await;
}

#[tokio::test]
async fn faulty_fails_when_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let inner: Arc<dyn RemoteStorage> = Arc::new(local_dir(directory.path()).await);
    let store =
        Faulty::new(Arc::clone(&inner), |operation, key| operation == Operation::Put && key.ends_with("bad"));
    store.put(&key("good"), Bytes::new()).await.unwrap();
    assert!(store.put(&key("bad"), Bytes::new()).await.unwrap_err().is_retryable());
    assert!(!inner.exists(&key("bad")).await.unwrap());
}

#[tokio::test]
async fn a_cut_off_put_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = local_dir(directory.path()).await;
    store.put(&key("object"), Bytes::from_static(b"old")).await.unwrap();
    let in_progress = directory.path().join("store/.in-progress");
    for name in ["1-0", "2-0"] {
        std::fs::write(in_progress.join(name), b"half of the ne").unwrap();
    }
    let crashed = std::fs::File::options().write(true).open(in_progress.join("1-0")).unwrap();
    crashed.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(7200)).unwrap();
    let store = local_dir(directory.path()).await;
    assert_eq!(store.list(None, ListMode::Recursive).await.unwrap().objects.len(), 1);
    let left: Vec<_> =
        std::fs::read_dir(in_progress).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["2-0"], "another process is at work on it");
}
