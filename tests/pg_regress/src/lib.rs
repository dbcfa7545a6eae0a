//! PostgreSQL's own regression suite on an endpoint with a tiny cache, against a stock server with the same
//! catalogs and settings: every file of results must be the same, byte by byte.
//!
//! How many tests fail against the output that the suite expects is only counted: its release is the one that
//! the distribution has sources of, which may be older than the server.
#![cfg(test)]

mod compare;
mod schedule;
mod suite;

use std::fs;
use std::io::Write;
use std::path::Path;

use harness::{Cluster, StockServer, pg_version};

use crate::compare::{differing, unified_diff};
use crate::suite::{Outcome, Socket, Suite};

/// On both servers.
const SETTINGS: [&str; 3] = [
    // 128 buffers: pages are written out and read again all the time.
    "shared_buffers=1MB",
    // Or where a scan begins depends on where the last one was.
    "synchronize_seqscans=off",
    "max_prepared_transactions=100",
];
const BOUNDED_CACHE: [&str; 4] =
    ["varve.cache_size=4MB", "varve.log_cache_interval=1", "varve.debug=on", "varve.test_shadow=on"];

/// Layers are so small and history so short that the suite's pages come from merged layers and images, beside which
/// garbage is collected all the time.
const PAGESERVER: &str = "checkpoint_distance = 1048576\n\
                          storage.compaction_target_size = 1048576\nstorage.image_layer_size = 2097152\n\
                          tenant_config.pitr_interval = \"0s\"\ntenant_config.gc_horizon = 1048576\n\
                          tenant_config.gc_period = \"1s\"\ntenant_config.lsn_lease_length = \"0s\"";

/// Less, and the comparison would say little.
const LEAST_TESTS: usize = 200;
const LEAST_EVICTIONS: u64 = 5_000;
const MOST_FAILURES: usize = 20;
/// Tests whose difference is shown. All are named.
const SHOWN: usize = 10;

#[test]
fn the_suite_prints_on_an_endpoint_what_it_prints_on_stock() {
    let cluster = Cluster::up_with("pg-regress", &[&SETTINGS[..], &BOUNDED_CACHE].concat());
    cluster.reconfigure_pageserver(PAGESERVER);
    let suite = Suite::prepare(cluster.directory().join("suite"));
    let stock = on_stock(&cluster, &suite);
    let endpoint = suite.run_on("on-endpoint", &socket_of(&cluster.pgdata("main")));

    let differing = differing(&stock, &endpoint);
    for name in differing.iter().take(SHOWN) {
        tell(&unified_diff(&suite.result("on-stock", name), &suite.result("on-endpoint", name)));
    }
    let activity = cluster.cache_activity();
    let (tests, failures) = (endpoint.results.len(), endpoint.failed.len());
    let storage = |name: &str| cluster.metric("pageserver", &format!("pageserver_storage_{name}"));
    let (compacted, collected) = (storage("compaction_seconds_count"), storage("layers_collected_total"));
    tell(&format!("pg-regress: {activity}"));
    tell(&format!("pg-regress: {compacted} jobs of compaction, {collected} layers collected"));
    tell(&format!(
        "pg-regress: PG {}: {tests} tests, {failures} failed against the expected output, {} differ from stock",
        pg_version(),
        differing.len()
    ));
    assert!(differing.is_empty(), "other results than stock PostgreSQL's: {}", differing.join(", "));
    assert!(tests >= LEAST_TESTS && failures <= MOST_FAILURES, "not the suite: {:?} fail", endpoint.failed);
    assert!(compacted > 20.0 && collected > 20.0, "too little of the pageserver's background work");
    assert!(activity.evicted_chunks.min(activity.refetched_blocks) >= LEAST_EVICTIONS, "{activity}");
}

/// On what was exported before anything was written, so that both have the same catalogs.
fn on_stock(cluster: &Cluster, suite: &Suite) -> Outcome {
    let exported = cluster.directory().join("stock");
    cluster.varve(&["timeline", "export", "-o", &exported.display().to_string()]);
    let socket = Socket { directory: exported.clone(), port: cluster.safekeeper_port(100) };
    let socket_directory = format!("unix_socket_directories={}", exported.display());
    let settings = [&SETTINGS[..], &[&socket_directory, "fsync=off"]].concat();
    let _server = StockServer::start_with(&exported, socket.port, &settings);
    suite.run_on("on-stock", &socket)
}

/// As the running server says.
fn socket_of(pgdata: &Path) -> Socket {
    let text = fs::read_to_string(pgdata.join("postmaster.pid")).expect("postmaster.pid");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    Socket { directory: lines[4].into(), port: lines[3].parse().expect("a port") }
}

/// Seen also when the test passes.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
