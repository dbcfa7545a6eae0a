//! `varve timeline export`: stock PostgreSQL starts on it, without anything of ours.

use harness::{Cluster, StockServer, block_on, connect};

#[test]
fn stock_postgres_starts_on_an_export_at_any_lsn() {
    let cluster = Cluster::up("export");
    block_on(async {
        let connstr = cluster.connstr("main");
        crate::pgbench::load(&connstr, 1, 4, 2);
        let mut points = Vec::new();
        for _ in 0..3 {
            crate::pgbench::mix(&connstr, 4, 2);
            // Nobody writes between the sums and the LSN, so that they belong together.
            let sums = crate::pgbench::checked_sum(&connstr).await;
            let client = connect(&connstr).await.unwrap();
            let lsn: String =
                client.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await.unwrap().get(0);
            points.push((lsn, sums));
        }
        let dumped = crate::pgbench::dump(&connstr);
        for (at, (lsn, sums)) in points.iter().enumerate() {
            let directory = cluster.directory().join(format!("exported-{at}"));
            let target = directory.display().to_string();
            cluster.varve(&["timeline", "export", "--branch-name", "main", "--at-lsn", lsn, "-o", &target]);
            let server = StockServer::start(&directory, cluster.safekeeper_port(100 + at as u16));
            assert_eq!(crate::pgbench::checked_sum(&server.connstr(&connstr)).await, *sums, "at {lsn}");
            // The dump first: the check installs an extension.
            if at + 1 == points.len() {
                assert_eq!(crate::pgbench::dump(&server.connstr(&connstr)), dumped);
            }
            crate::pgbench::amcheck(&server.connstr(&connstr));
            let again = cluster.try_varve(&["timeline", "export", "-o", &target]);
            assert!(!again.status.success(), "an export over existing files must be refused");
        }
    });
}
