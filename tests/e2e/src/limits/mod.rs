//! What bounds a compute: its disk, the lag of the pageserver, and what it can do without one.

mod disk;
mod free_space;
mod lag;
mod outage;
mod prefetch;
mod refusals;
mod snapshot;
mod unreachable;

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use harness::{Cluster, connect};
use tokio_postgres::Client;

/// A connection to the endpoint `main` that can look at the extension's views.
async fn observer(cluster: &Cluster) -> Client {
    let client = connect(&cluster.connstr("main")).await.expect("a connection");
    client.batch_execute("CREATE EXTENSION IF NOT EXISTS varve").await.expect("the extension");
    client
}

/// Bytes on disk of all files below a directory; holes count for nothing.
fn disk_usage(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let usage = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_usage(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        // Dropped meanwhile.
        Err(_) => 0,
    };
    entries.filter_map(Result::ok).map(usage).sum()
}
