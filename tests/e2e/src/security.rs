//! Who is kept out of what: every port of every part, with every kind of token; TLS; keys and certificates that are replaced while
//! everything runs.

mod grpc;
mod http;
mod parts;
mod postgres;
mod rotation;
mod strangers;
mod tls;
mod tokens;

use harness::{Cluster, Writers};

/// A cluster with a branch of its own tenant, and nobody who writes.
fn quiet(name: &str) -> Cluster {
    Cluster::up(name).need_not_evict("next to nothing is written")
}

/// Kills and starts one part after the other, while somebody writes.
async fn each_part_anew(cluster: &Cluster, writers: &Writers) {
    for part in ["broker", "safekeeper-1", "safekeeper-2", "safekeeper-3", "pageserver"] {
        cluster.kill(part);
        cluster.varve(&["start"]);
        writers.wait_for_progress(50).await;
    }
}
