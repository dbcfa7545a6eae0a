//! Object storage that is a bucket: everything comes to be there, nothing waits for it, and all is read from it again.

use std::time::Duration;

use harness::{Cluster, Remote, block_on, eventually, lsn};
use s3_server::S3Server;

use crate::offload::fill;

const PATIENCE: Duration = Duration::from_secs(60);

fn on_a_bucket(name: &str, server: &S3Server) -> Cluster {
    let endpoint = server.endpoint();
    let remote_storage =
        format!(r#"{{ bucket_name = "bucket", prefix_in_bucket = "of/varve", endpoint = "{endpoint}" }}"#);
    let environment = vec![
        ("AWS_ACCESS_KEY_ID", s3_server::ACCESS_KEY_ID.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", s3_server::SECRET_ACCESS_KEY.to_owned()),
    ];
    Cluster::up_on(name, Remote { remote_storage, environment }, "checkpoint_distance = 4194304")
        .need_not_evict("it writes much and reads little")
}

#[test]
fn a_bucket_has_everything_and_nobody_waits_for_it() {
    let server = S3Server::start("bucket");
    let cluster = on_a_bucket("bucket", &server);
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

        // What is on the pageserver's disk is a cache.
        drop(main);
        cluster.varve(&["endpoint", "stop", "main"]);
        cluster.varve(&["pageserver", "stop"]);
        std::fs::remove_dir_all(cluster.directory().join("pageserver/tenants")).expect("the cache");
        cluster.varve(&["pageserver", "start"]);
        cluster.varve(&["endpoint", "start", "main"]);
        let main = cluster.connect("main").await;
        for table in ["t1", "t2"] {
            let sum = format!("SELECT count(*), sum(length(filler))::bigint FROM {table}");
            let sum = main.query_one(&sum, &[]).await.unwrap();
            assert_eq!((sum.get::<_, i64>(0), sum.get::<_, i64>(1)), (20_000, 18_000_000), "{table}");
        }
    });
    let elsewhere = std::fs::read_dir(cluster.directory().join("remote_storage")).unwrap().count();
    assert_eq!(elsewhere, 0, "nothing goes anywhere else");
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
