//! Timelines of two major versions of PostgreSQL in one cluster.

use harness::{Cluster, block_on, pg_version};
use types::PgVersion;

async fn server_version(cluster: &Cluster, endpoint: &str) -> u32 {
    let client = cluster.connect(endpoint).await;
    let row = client.query_one("SHOW server_version_num", &[]).await.expect("a version");
    row.get::<_, String>(0).parse::<u32>().expect("a number") / 10_000
}

async fn sum(cluster: &Cluster, endpoint: &str) -> i64 {
    let client = cluster.connect(endpoint).await;
    client.query_one("SELECT sum(n) FROM t", &[]).await.expect("a sum").get(0)
}

/// The endpoint of 17 and its tenant live beside those of 15, on the same safekeepers and the same pageserver.
#[test]
fn two_versions_share_a_cluster() {
    if pg_version() != PgVersion::V15 {
        // Where tests run on 17, 15 may not be had.
        return;
    }
    let cluster = Cluster::up("versions");
    let other = PgVersion::V17;
    let tenant = "17".repeat(16);
    cluster.varve_on(other, &["tenant", "create", "--tenant-id", &tenant, "--pg-version", "17"]);
    let on_tenant = ["--tenant-id", tenant.as_str()];
    cluster.varve(&[&["endpoint", "create", "seventeen"], &on_tenant[..]].concat());
    cluster.varve_on(other, &["endpoint", "start", "seventeen"]);
    block_on(async {
        for endpoint in ["main", "seventeen"] {
            let client = cluster.connect(endpoint).await;
            let rows = "CREATE TABLE t (n int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 20000)";
            client.batch_execute(rows).await.unwrap();
        }
        assert_eq!(server_version(&cluster, "main").await, 15);
        assert_eq!(server_version(&cluster, "seventeen").await, 17);

        // A branch is of its ancestor's version.
        cluster.varve(&[&["timeline", "branch", "--branch-name", "dev"], &on_tenant[..]].concat());
        cluster.varve(&[&["endpoint", "create", "dev", "--branch-name", "dev"], &on_tenant[..]].concat());
        if !std::path::Path::new("/usr/lib/postgresql/17/bin/postgres").exists() {
            let refused = cluster.try_varve(&["endpoint", "start", "dev"]);
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(!refused.status.success() && said.contains("postgresql-17"), "{said}");
        }
        cluster.varve_on(other, &["endpoint", "start", "dev"]);
        let dev = cluster.connect("dev").await;
        dev.batch_execute("DELETE FROM t WHERE n > 10000").await.unwrap();

        // Everything comes back from storage.
        cluster.kill("endpoint-seventeen");
        cluster.varve_on(other, &["endpoint", "start", "seventeen"]);
        assert_eq!(server_version(&cluster, "dev").await, 17);
        assert_eq!(sum(&cluster, "main").await, 200_010_000);
        assert_eq!(sum(&cluster, "seventeen").await, 200_010_000);
        assert_eq!(sum(&cluster, "dev").await, 50_005_000);
    });
}
