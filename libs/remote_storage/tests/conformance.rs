//! The one suite that every object store must pass.

use std::sync::Arc;

use bytes::Bytes;
use durable_fs::DurableFs;
use prometheus::{Registry, TextEncoder};
use remote_storage::{
    Counted, Credentials, Fault, Faulty, ListMode, LocalDir, ObjectKey, Operation, RemoteError,
    RemoteStorage, S3Bucket, S3Config,
};
use s3_server::S3Server;

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
    let store = Faulty::new(Arc::new(local_dir(directory.path()).await), |_, _| None);
    conformance(&store, directory.path()).await;
}

#[tokio::test]
async fn what_is_asked_of_a_store_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::new();
    let store = Counted::new(Arc::new(local_dir(directory.path()).await), &registry).unwrap();
    conformance(&store, directory.path()).await;
    store.put(&key("kept"), Bytes::from_static(b"12345")).await.unwrap();
    let before = sent(&registry);
    store.put(&key("kept"), Bytes::from_static(b"12345")).await.unwrap();
    assert_eq!(sent(&registry) - before, 5.0);
    let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    for line in [r#"operation="put",outcome="error"} 1"#, r#"operation="get",outcome="not_found"} 12"#] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}

fn sent(registry: &Registry) -> f64 {
    let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    let line = text.lines().find(|line| line.contains(r#"direction="sent""#)).expect("bytes sent");
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn faulty_fails_when_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let inner: Arc<dyn RemoteStorage> = Arc::new(local_dir(directory.path()).await);
    let store = Faulty::new(Arc::clone(&inner), |operation, key| match (operation, key) {
        (Operation::Put, "bad") => Some(Fault::Refused),
        (Operation::Put, "unheard") => Some(Fault::LostReply),
        (Operation::Get, "good") => Some(Fault::CutShort),
        _ => None,
    });
    store.put(&key("good"), Bytes::from_static(b"0123456789")).await.unwrap();
    for fails in ["bad", "unheard"] {
        assert!(store.put(&key(fails), Bytes::new()).await.unwrap_err().is_retryable());
        assert_eq!(inner.exists(&key(fails)).await.unwrap(), fails == "unheard");
    }
    let file = directory.path().join("file");
    assert!(store.get_to_file(&key("good"), &file).await.unwrap_err().is_retryable());
    assert_eq!(std::fs::read(&file).unwrap(), b"01234");
    assert!(store.get(&key("good")).await.is_err());
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

fn bucket(server: &S3Server) -> S3Config {
    S3Config {
        bucket_name: "bucket".to_owned(),
        bucket_region: None,
        endpoint: Some(server.endpoint().to_owned()),
        prefix_in_bucket: Some(key("of/varve")),
        concurrency_limit: 4,
    }
}

fn credentials(secret: &str) -> Option<Credentials> {
    Some(Credentials::new(s3_server::ACCESS_KEY_ID, secret, None, None, "test"))
}

#[tokio::test]
async fn a_bucket_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let server = S3Server::start("bucket");
    let config = bucket(&server);
    let store = S3Bucket::open_as(&config, credentials(s3_server::SECRET_ACCESS_KEY)).await.unwrap();
    conformance(&store, directory.path()).await;

    server.set_away(true);
    let refused = store.put(&key("ours"), Bytes::from_static(b"lost")).await.unwrap_err();
    assert!(refused.is_retryable() && refused.to_string().contains("503"), "{refused}");
    server.set_away(false);

    // What others have in the bucket is not seen, and two prefixes do not meet.
    store.put(&key("ours"), Bytes::from_static(b"here")).await.unwrap();
    server.objects().insert("of/varve/not a key".to_owned(), Bytes::new());
    assert_eq!(server.objects()["of/varve/ours"], &b"here"[..]);
    let listing = store.list(None, ListMode::Children).await.unwrap();
    let names: Vec<&str> = listing.objects.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(names, ["ours"]);
    let whole = S3Config { prefix_in_bucket: None, ..config };
    let whole = S3Bucket::open_as(&whole, credentials(s3_server::SECRET_ACCESS_KEY)).await.unwrap();
    assert_eq!(whole.get(&key("of/varve/ours")).await.unwrap(), &b"here"[..]);
    assert_eq!(whole.list(None, ListMode::Children).await.unwrap().directories, [key("of")]);
}

/// As [`files_go_in_and_out`], of one that is put in three parts. None of what cannot be put stays.
async fn a_large_file_goes_in_parts(store: S3Bucket, scratch: &std::path::Path) {
    const PART: u64 = 5 << 20;
    let store = store.with_largest_put(PART);
    let body: Vec<u8> = (0..2 * PART as u32 + 7).map(|n| (n.wrapping_mul(n) >> 9) as u8).collect();
    let (source, target) = (scratch.join("large"), scratch.join("target"));
    std::fs::write(&source, &body).unwrap();
    store.put_file(&key("large"), &source).await.unwrap();
    assert_eq!(store.head(&key("large")).await.unwrap(), Some(body.len() as u64));
    assert_eq!(store.get_to_file(&key("large"), &target).await.unwrap(), body.len() as u64);
    assert!(std::fs::read(&target).unwrap() == body);
    assert_eq!(
        store.get_range(&key("large"), PART - 2..PART + 2).await.unwrap(),
        body[PART as usize - 2..][..4]
    );
    store.delete(&key("large")).await.unwrap();
}

#[tokio::test]
async fn an_upload_in_parts_that_fails_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = S3Server::start("bucket");
    let config = bucket(&server);
    let store = S3Bucket::open_as(&config, credentials(s3_server::SECRET_ACCESS_KEY)).await.unwrap();
    a_large_file_goes_in_parts(store.clone(), directory.path()).await;
    assert_eq!((server.unfinished_uploads(), server.objects().len()), (0, 0));

    let store = store.with_largest_put(1 << 20);
    let source = directory.path().join("large");
    server.set_refused_part(Some(3));
    let refused = store.put_file(&key("large"), &source).await.unwrap_err();
    assert!(refused.to_string().contains("BadDigest"), "{refused}");
    assert_eq!((server.unfinished_uploads(), server.objects().len()), (0, 0));
    server.set_refused_part(None);
    store.put_file(&key("large"), &source).await.unwrap();
    assert!(store.exists(&key("large")).await.unwrap());
}

/// Of a store that is not ours, which `make test-garage` starts, with credentials from the environment.
#[tokio::test]
#[ignore = "needs a store that takes long to build: make test-garage"]
async fn a_bucket_of_another_store_conforms() {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let config = S3Config {
        bucket_name: variable("VARVE_TEST_S3_BUCKET"),
        bucket_region: Some(variable("VARVE_TEST_S3_REGION")),
        endpoint: Some(variable("VARVE_TEST_S3_ENDPOINT")),
        prefix_in_bucket: Some(key("conformance")),
        concurrency_limit: 4,
    };
    let directory = tempfile::tempdir().unwrap();
    let store = S3Bucket::open(&config).await.unwrap();
    conformance(&store, directory.path()).await;
    a_large_file_goes_in_parts(store.clone(), directory.path()).await;
    // More than a page of a listing.
    for number in 0..1100 {
        store.put(&key(&format!("many/{number:04}")), Bytes::new()).await.unwrap();
    }
    let listing = store.list(Some(&key("many")), ListMode::Recursive).await.unwrap();
    assert_eq!(listing.objects.len(), 1100);
    let refused = S3Bucket::open_as(&config, credentials("a guess")).await.unwrap_err();
    assert!(!refused.is_retryable() && refused.to_string().contains("403"), "{refused}");
    let absent = S3Config { bucket_name: "another".to_owned(), ..config };
    let refused = S3Bucket::open(&absent).await.unwrap_err().to_string();
    assert!(refused.contains("404") || refused.contains("403"), "{refused}");
}

#[tokio::test]
async fn listings_of_a_bucket_have_many_pages() {
    let server = S3Server::start("bucket");
    let store = S3Bucket::open_as(&bucket(&server), credentials(s3_server::SECRET_ACCESS_KEY)).await.unwrap();
    let all = (0..2500).map(|number| (format!("of/varve/many/object-{number:04}"), Bytes::new()));
    server.objects().extend(all);
    let listing = store.list(Some(&key("many")), ListMode::Recursive).await.unwrap();
    let expected: Vec<ObjectKey> = (0..2500).map(|number| key(&format!("many/object-{number:04}"))).collect();
    let found: Vec<ObjectKey> = listing.objects.into_iter().map(|object| object.key).collect();
    assert!(found == expected, "{} objects", found.len());

    let all = (0..2500).map(|number| (format!("of/varve/{:04}/{}", number / 2, number % 2), Bytes::new()));
    server.objects().extend(all);
    let listing = store.list(None, ListMode::Children).await.unwrap();
    let mut expected: Vec<ObjectKey> = (0..1250).map(|number| key(&format!("{number:04}"))).collect();
    expected.push(key("many"));
    assert!(listing.directories == expected, "{} directories", listing.directories.len());
}

#[tokio::test]
async fn a_bucket_that_cannot_be_used_is_said_to_be_so() {
    let server = S3Server::start("bucket");
    let config = bucket(&server);
    let refused = S3Bucket::open_as(&config, credentials("a guess")).await.unwrap_err();
    assert!(!refused.is_retryable(), "{refused}");
    assert!(
        refused.to_string().contains("bucket \"bucket\": the store says 403: SignatureDoesNotMatch"),
        "{refused}"
    );
    let absent = S3Config { bucket_name: "another".to_owned(), ..config.clone() };
    let absent = S3Bucket::open_as(&absent, credentials(s3_server::SECRET_ACCESS_KEY)).await.unwrap_err();
    assert!(absent.to_string().contains("bucket \"another\": the store says 404: NoSuchBucket"), "{absent}");

    // It may be there later: what is asked of it fails until then.
    drop(server);
    let store = S3Bucket::open_as(&config, credentials(s3_server::SECRET_ACCESS_KEY)).await.unwrap();
    let error = store.get(&key("object")).await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("refused"), "{error}");
}
