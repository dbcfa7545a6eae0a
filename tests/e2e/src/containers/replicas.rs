//! A read replica on a host of its own, as the profile `replica` of docker-compose.yml has it, and the past beside it.

use std::time::Duration;

use harness::{block_on, eventually};

use super::services::Services;

const PATIENCE: Duration = Duration::from_secs(60);

fn shows(services: &Services, compute: &str, query: &str, answer: &str) {
    block_on(eventually(&format!("{compute} answers {answer} to {query}"), PATIENCE, async || {
        services.sql_at(compute, query).as_deref() == Ok(answer)
    }));
}

/// In clear and with TLS, which everybody that the replica talks to then speaks.
fn with_a_replica(tls: bool) -> Services {
    let mut services = Services::with_storage(tls);
    for compute in ["compute", "replica"] {
        services.start(compute);
        services.becomes_healthy(compute);
    }
    services
}

#[test]
fn a_replica_follows_and_a_compute_without_the_flag_takes_over() {
    let mut services = with_a_replica(false);
    services.sql("CREATE EXTENSION varve").unwrap();
    services.sql("CREATE TABLE marks AS SELECT n FROM generate_series(1, 1000) n").unwrap();
    shows(&services, "replica", "SELECT count(*) || ' ' || pg_is_in_recovery() FROM marks", "1000 true");
    let refused = services.sql_at("replica", "INSERT INTO marks VALUES (0)").unwrap_err();
    assert!(refused.contains("read-only transaction"), "{refused}");
    let fetched = services.sql_at("replica", "SELECT blocks_fetched > 0 FROM varve.pageserver").unwrap();
    assert_eq!(fetched, "t", "pages come from the pageserver");
    let lsn = services.sql("SELECT pg_current_wal_flush_lsn()").unwrap();
    services.sql("DELETE FROM marks WHERE n > 10").unwrap();
    shows(&services, "replica", "SELECT count(*) FROM marks", "10");

    // It goes on with one safekeeper less, and comes back after a crash with all that was committed meanwhile.
    services.kill("safekeeper1");
    services.sql("INSERT INTO marks VALUES (11)").unwrap();
    shows(&services, "replica", "SELECT count(*) FROM marks", "11");
    services.kill("replica");
    services.sql("INSERT INTO marks VALUES (12)").unwrap();
    services.start("replica");
    services.becomes_healthy("replica");
    assert_eq!(services.sql_at("replica", "SELECT count(*) FROM marks").as_deref(), Ok("12"));

    // As it was before: where the replica was, a compute that stands still.
    services.stop("replica");
    services.start_with("replica", &["--lsn", &lsn]);
    services.becomes_healthy("replica");
    assert_eq!(services.sql_at("replica", "SELECT count(*) FROM marks").as_deref(), Ok("1000"));
    services.stop("replica");

    // One that writes, on the replica's host: the first one is fenced off, and ends.
    services.start_with("replica", &[]);
    services.becomes_healthy("replica");
    services.sql_at("replica", "INSERT INTO marks VALUES (13)").unwrap();
    block_on(eventually("the first one ends", PATIENCE, async || {
        services.sql("SELECT 1").is_err() && services.log("compute").contains("fenced")
    }));
    assert_eq!(services.sql_at("replica", "SELECT count(*) FROM marks").as_deref(), Ok("13"));
}

#[test]
fn a_replica_believes_whom_certificates_name() {
    let mut services = with_a_replica(true);
    services.sql("CREATE TABLE marks AS SELECT n FROM generate_series(1, 1000) n").unwrap();
    shows(&services, "replica", "SELECT count(*) FROM marks", "1000");
    let said = services.sql_at("replica", "SHOW primary_conninfo").unwrap();
    assert!(said.contains("sslmode=verify-full"), "{said}");
    // It goes on with the next of its safekeepers, which shows a certificate as well.
    let first =
        said.split_once("host=").expect("a host").1.split([',', ' ']).next().expect("a name").to_owned();
    services.kill(&first);
    services.sql("INSERT INTO marks VALUES (0)").unwrap();
    shows(&services, "replica", "SELECT count(*) FROM marks", "1001");
}
