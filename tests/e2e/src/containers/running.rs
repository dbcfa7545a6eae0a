//! What must not happen to a branch while a compute on a host of its own writes to it, which has no endpoint where `varve` runs.

use super::services::{Services, said};

#[test]
fn a_branch_stays_as_it_is_while_a_compute_elsewhere_writes_to_it() {
    let mut services = Services::with_storage(false);
    services.start("compute");
    services.becomes_healthy("compute");
    services.sql("CREATE TABLE marks AS SELECT n FROM generate_series(1, 1000) n").unwrap();
    let lsn = services.sql("SELECT pg_current_wal_flush_lsn()").unwrap();
    services.sql("INSERT INTO marks VALUES (1001)").unwrap();

    let refuses = |services: &Services, command: &[&str]| {
        let output = services.exec("init", &[&["varve", "timeline"], command].concat());
        let said = said(&output);
        let names_it = said.contains("a compute is running on branch \"main\": safekeeper ");
        assert!(!output.status.success() && names_it, "{command:?}: {said}");
    };
    let restore = ["restore", "--branch-name", "main", "--to-lsn", &lsn];
    refuses(&services, &restore);
    for command in ["archive", "delete"] {
        refuses(&services, &[command, "--branch-name", "main"]);
    }
    // One that does not answer is not needed for that.
    services.kill("safekeeper1");
    refuses(&services, &restore);
    services.start("safekeeper1");
    services.becomes_healthy("safekeeper1");
    services.sql("INSERT INTO marks VALUES (1002)").unwrap();
    assert_eq!(services.sql("SELECT count(*) FROM marks").as_deref(), Ok("1002"));

    services.stop("compute");
    let told = services.varve(&[&["timeline"], &restore[..]].concat());
    assert!(told.contains("stopped before a restore and started after it"), "{told}");
    services.start("compute");
    services.becomes_healthy("compute");
    assert_eq!(services.sql("SELECT count(*) FROM marks").as_deref(), Ok("1000"));
}
