//! Keys that are replaced while everything runs, and tokens that are printed for people.

use std::time::Duration;

use harness::{Cluster, Writers, block_on, eventually, ledger_rows};

const PATIENCE: Duration = Duration::from_secs(60);

/// What a daemon answers to a token.
async fn status(cluster: &Cluster, daemon: &str, token: &str) -> u16 {
    let url = format!("{}://{}/v1/status", cluster.scheme(), cluster.http_address(daemon));
    http_client::client(cluster.trust().as_ref())
        .get(url)
        .bearer_auth(token)
        .send()
        .await
        .unwrap()
        .status()
        .as_u16()
}

#[test]
fn keys_are_replaced_while_everything_runs() {
    let cluster = Cluster::up("security-rotation").need_not_evict("what counts is who is let in");
    cluster.varve(&["endpoint", "create", "replica", "--branch-name", "main", "--hot-standby"]);
    cluster.varve(&["endpoint", "start", "replica"]);
    let old = cluster.credentials().token();
    let public = || std::fs::read_dir(cluster.directory().join("auth/public")).unwrap().count();
    block_on(async {
        let client = cluster.connect("main").await;
        let writers = Writers::start(&cluster.connstr("main"), 2).await;
        writers.wait_for_progress(50).await;
        let said = cluster.varve(&["auth", "rotate"]);
        assert!(said.contains("1 key(s) retired"), "{said}");
        assert_eq!(public(), 1);
        let new = cluster.credentials().token();
        for daemon in [
            "pageserver",
            "safekeeper-1",
            "safekeeper-2",
            "safekeeper-3",
            "endpoint-main",
            "endpoint-replica",
        ] {
            assert_eq!(status(&cluster, daemon, &old).await, 401, "{daemon} believes a retired key");
            assert_eq!(status(&cluster, daemon, &new).await, 200, "{daemon} does not believe the new key");
        }
        writers.wait_for_progress(50).await;

        // Connections that were open are made anew, one part after the other, with the new tokens: the walproposer's to
        // safekeepers, the replica's to them, the pageserver's, everybody's to the broker, and backends' to the pageserver.
        super::each_part_anew(&cluster, &writers).await;
        let ledger = writers.stop().await;
        let rows = ledger_rows(&client).await;
        assert!(ledger.check(rows.iter().copied()).is_clean());
        let replica = cluster.connect("replica").await;
        let count = rows.len();
        eventually("the replica has all of it", PATIENCE, async || {
            ledger_rows(&replica).await.len() == count
        })
        .await;
    });
    let log = cluster.log("endpoint-main") + &cluster.log("endpoint-replica");
    assert_eq!(log.matches("the token was replaced").count(), 2, "both computes have taken the new token on");
}

#[test]
fn printed_tokens_open_what_they_say() {
    let cluster = super::quiet("security-printed");
    let token = |arguments: &[&str]| {
        let said = cluster.varve(&[&["auth", "token"], arguments].concat());
        said.trim().to_owned()
    };
    let (tenant, _) = cluster.ids("main");
    let (monitor, safekeeper) =
        (token(&["--scope", "monitor"]), token(&["--scope", "safekeeper", "--scope", "broker"]));
    let of_tenant = token(&["--scope", "tenant", "--tenant-id", &tenant]);
    let short = token(&["--scope", "admin", "--valid-for", "1s"]);
    block_on(async {
        assert_eq!(status(&cluster, "pageserver", &monitor).await, 200);
        assert_eq!(status(&cluster, "pageserver", &safekeeper).await, 403);
        assert_eq!(status(&cluster, "safekeeper-1", &safekeeper).await, 200);
        assert_eq!(status(&cluster, "safekeeper-1", &of_tenant).await, 403);
        // The clocks of two machines may differ by some seconds.
        eventually("it expires", PATIENCE, async || status(&cluster, "pageserver", &short).await == 401)
            .await;
    });
    cluster.refuses(&["auth", "token", "--scope", "tenant"], "--tenant-id says of which");
    cluster.refuses(
        &["auth", "token", "--scope", "monitor", "--tenant-id", &tenant],
        "goes with --scope tenant",
    );
    cluster.refuses(&["auth", "token", "--scope", "moon"], "is not a scope");
}
