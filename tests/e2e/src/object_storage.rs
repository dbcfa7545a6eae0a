//! Object storage that is a bucket: everything comes to be there, nothing waits for it, and all is read from it again.

use std::time::Duration;

use harness::{Cluster, Remote, block_on, eventually, lsn};
use remote_storage::{ListMode, RemoteStorage, S3Bucket, S3Config};
use s3_server::S3Server;

use crate::offload::fill;

const PATIENCE: Duration = Duration::from_secs(60);

fn on_a_bucket(name: &str, remote: Remote) -> Cluster {
    Cluster::up_on(name, remote, "checkpoint_distance = 4194304")
        .need_not_evict("it writes much and reads little")
}

/// A bucket of a server that is ours.
pub fn ours(server: &S3Server) -> Remote {
    let endpoint = server.endpoint();
    Remote {
        remote_storage: format!(
            r#"{{ bucket_name = "bucket", prefix_in_bucket = "of/varve", endpoint = "{endpoint}" }}"#
        ),
        environment: vec![
            ("AWS_ACCESS_KEY_ID", s3_server::ACCESS_KEY_ID.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", s3_server::SECRET_ACCESS_KEY.to_owned()),
        ],
    }
}

/// What is on the pageserver's disk is a cache.
async fn all_is_there_without_the_cache(cluster: &Cluster, tables: &[&str]) {
    cluster.varve(&["endpoint", "stop", "main"]);
    cluster.varve(&["pageserver", "stop"]);
    std::fs::remove_dir_all(cluster.directory().join("pageserver/tenants")).expect("the cache");
    cluster.varve(&["pageserver", "start"]);
    cluster.varve(&["endpoint", "start", "main"]);
    let main = cluster.connect("main").await;
    for table in tables {
        let sum = format!("SELECT count(*), sum(length(filler))::bigint FROM {table}");
        let sum = main.query_one(&sum, &[]).await.unwrap();
        assert_eq!((sum.get::<_, i64>(0), sum.get::<_, i64>(1)), (20_000, 18_000_000), "{table}");
    }
}

#[test]
fn a_bucket_has_everything_and_nobody_waits_for_it() {
    let server = S3Server::start("bucket");
    let cluster = on_a_bucket("bucket", ours(&server));
    let objects = |below: &str| {
        let below = format!("of/varve/{below}/");
        server.objects().keys().filter(|key| key.starts_with(&below)).count()
    };
    block_on(async {
        let main = cluster.connect("main").await;
        let uploaded = || lsn(&cluster.pageserver_timeline("main")["remote_consistent_lsn"]);
        let begun = uploaded();
        fill(&main, 1).await;
        eventually("the pageserver uploads", PATIENCE, async || uploaded() > begun).await;
        eventually("safekeepers upload", PATIENCE, async || objects("wal") > 0).await;
        assert!(objects("tenants") > 0);

        server.set_away(true);
        let before = uploaded();
        fill(&main, 2).await;
        let failed = || cluster.log("pageserver").contains("503");
        eventually("the pageserver meets a store that is away", PATIENCE, async || failed()).await;
        let count = main.query_one("SELECT count(*) FROM t2", &[]).await.unwrap();
        assert_eq!(count.get::<_, i64>(0), 20_000);
        server.set_away(false);
        eventually("it goes on when the store is back", PATIENCE, async || uploaded() > before).await;

        drop(main);
        all_is_there_without_the_cache(&cluster, &["t1", "t2"]).await;
    });
    let elsewhere = std::fs::read_dir(cluster.directory().join("remote_storage")).unwrap().count();
    assert_eq!(elsewhere, 0, "nothing goes anywhere else");
}

/// The same on a store that is not ours, which `make test-garage` starts.
#[test]
#[ignore = "needs a store that takes long to build: make test-garage"]
fn another_store_has_everything() {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let [endpoint, bucket_name, region] =
        ["ENDPOINT", "BUCKET", "REGION"].map(|name| variable(&format!("VARVE_TEST_S3_{name}")));
    let remote_storage = format!(
        r#"{{ bucket_name = "{bucket_name}", bucket_region = "{region}", prefix_in_bucket = "of/varve", endpoint = "{endpoint}" }}"#
    );
    // The daemons have the credentials from this process's environment.
    let cluster = on_a_bucket("another-store", Remote { remote_storage, environment: Vec::new() });
    block_on(async {
        let config = S3Config {
            bucket_name,
            bucket_region: Some(region),
            endpoint: Some(endpoint),
            prefix_in_bucket: Some("of/varve".parse().unwrap()),
            concurrency_limit: 4,
        };
        let store = S3Bucket::open(&config).await.unwrap();
        let objects = async |below: String| {
            let listing = store.list(Some(&below.parse().unwrap()), ListMode::Recursive).await.unwrap();
            listing.objects.len()
        };
        let main = cluster.connect("main").await;
        for n in 1..=3 {
            fill(&main, n).await;
        }
        eventually("safekeepers upload", PATIENCE, async || objects("wal".to_owned()).await > 2).await;
        drop(main);
        all_is_there_without_the_cache(&cluster, &["t1", "t2", "t3"]).await;

        let (tenant, _) = cluster.ids("main");
        cluster.varve(&["timeline", "branch", "--branch-name", "work"]);
        let (_, work) = cluster.ids("work");
        let below = format!("tenants/{tenant}/timelines/{work}");
        assert!(objects(below.clone()).await > 0);
        cluster.varve(&["timeline", "delete", "--branch-name", "work"]);
        assert_eq!(objects(below).await, 0, "what is deleted is gone");
    });
}

#[test]
fn a_bucket_that_cannot_be_used_is_named() {
    let server = S3Server::start("bucket");
    let cluster = Cluster::init("no-bucket");
    let endpoint = server.endpoint();
    let lines = format!("[remote_storage]\nbucket_name = \"another\"\nendpoint = \"{endpoint}\"\n");
    let path = cluster.directory().join("config.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}\n{lines}")).unwrap();
    let output = cluster
        .command(&["up"])
        .env("AWS_ACCESS_KEY_ID", s3_server::ACCESS_KEY_ID)
        .env("AWS_SECRET_ACCESS_KEY", s3_server::SECRET_ACCESS_KEY)
        // No backtrace pushes the reason out of the last words that are shown.
        .env("RUST_BACKTRACE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("cannot use bucket \"another\""), "{said}");
    let nonsense = cluster.directory().join("elsewhere");
    let output = std::process::Command::new(cluster.command(&[]).get_program())
        .args(["--data-dir", nonsense.to_str().unwrap(), "init", "--remote-storage", "{ bucket_name = 7"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("--remote-storage"), "{said}");
    assert!(!nonsense.exists());
}
