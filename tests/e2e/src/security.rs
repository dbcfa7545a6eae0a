//! Who is kept out of what: every port of every part, with every kind of token; TLS; keys and certificates that are replaced while
//! everything runs.

mod grpc;
mod http;
mod parts;
mod postgres;
mod rotation;
mod tls;
mod tokens;

use harness::Cluster;

/// A cluster with a branch of its own tenant, and nobody who writes.
fn quiet(name: &str) -> Cluster {
    Cluster::up(name).need_not_evict("next to nothing is written")
}
