//! Disks of the pageserver and of object storage that are full, or make nothing durable: commits go on, nothing is
//! lost, and all goes on by itself, or after a start, when the disk is mended. Safekeepers' disks are in chaos, computes'
//! in limits.

use std::time::Duration;

use harness::{Cluster, Writers, block_on, eventually, ledger_rows, lsn, number};

use crate::chaos::disk::{Disk, Trouble};

const PATIENCE: Duration = Duration::from_secs(60);
/// Layers are flushed and merged all the time, and writers are not slowed down by what the pageserver lacks.
const PAGESERVER: &str = "checkpoint_distance = 300000\nstorage.compaction_target_size = 1000000";

fn cluster(name: &str) -> Cluster {
    Cluster::up_configured(name, "", PAGESERVER).need_not_evict("pages are compared at the end")
}

/// A disk of ours below a directory of the pageserver, which is started on it, and writers who are under way.
async fn load_on_disk(cluster: &Cluster, directory: &str) -> (Disk, Writers) {
    cluster.varve(&["pageserver", "stop"]);
    let disk = Disk::over(&cluster.directory().join(directory));
    cluster.varve(&["pageserver", "start"]);
    let writers = Writers::start(&cluster.connstr("main"), 4).await;
    writers.wait_for_progress(200).await;
    (disk, writers)
}

/// All that was acknowledged is there for a compute that has nothing cached.
async fn nothing_is_lost(cluster: &Cluster, writers: Writers) {
    let ledger = writers.stop().await;
    let end = lsn(&cluster.safekeeper_timeline(1, "main")["commit_lsn"]);
    let has_all = async || lsn(&cluster.pageserver_timeline("main")["last_record_lsn"]) >= end;
    eventually("the pageserver has all of it", PATIENCE, has_all).await;
    cluster.varve(&["endpoint", "stop", "main"]);
    cluster.varve(&["endpoint", "start", "main"]);
    let client = cluster.connect("main").await;
    let verdict = ledger.check(ledger_rows(&client).await);
    assert!(verdict.is_clean(), "{verdict:?}");
}

async fn is_hit(disk: &Disk, times: u64) {
    eventually("the disk makes trouble", PATIENCE, async || disk.hits() >= times).await;
}

#[test]
fn a_pageserver_with_a_full_disk_goes_on_when_there_is_room() {
    let cluster = cluster("pageserver-disk-full");
    block_on(async {
        let (disk, writers) = load_on_disk(&cluster, "pageserver").await;
        let client = cluster.connect("main").await;
        number(&client, "SELECT count(*) FROM ledger").await;
        let pid = cluster.pid("pageserver");
        disk.make(Trouble::Full);
        is_hit(&disk, 3).await;
        // Commits are the safekeepers' affair. A page can be read as long as no layer has to be fetched for it.
        writers.wait_for_progress(200).await;
        assert!(number(&client, "SELECT count(*) FROM ledger").await > 200);
        disk.make(Trouble::None);
        assert_eq!(cluster.pid("pageserver"), pid, "it had no reason to end");
        let log = cluster.log("pageserver");
        assert!(log.contains("No space left on device"), "nobody is told why");
        drop(client);
        nothing_is_lost(&cluster, writers).await;
        cluster.varve(&["pageserver", "stop"]);
    });
}

#[test]
fn a_pageserver_whose_disk_makes_nothing_durable_loses_nothing() {
    let cluster = cluster("pageserver-disk-failing");
    block_on(async {
        let (disk, writers) = load_on_disk(&cluster, "pageserver").await;
        disk.make(Trouble::Failing);
        is_hit(&disk, 1).await;
        writers.wait_for_progress(200).await;
        assert!(cluster.log("pageserver").contains("Input/output error"), "nobody is told why");
        disk.make(Trouble::None);
        // It may have ended rather than trust that disk.
        cluster.varve(&["start"]);
        nothing_is_lost(&cluster, writers).await;
        cluster.varve(&["pageserver", "stop"]);
    });
}

#[test]
fn object_storage_that_is_full_is_waited_for() {
    let cluster = cluster("object-storage-full");
    block_on(async {
        let (disk, writers) = load_on_disk(&cluster, "remote_storage").await;
        disk.make(Trouble::Full);
        is_hit(&disk, 3).await;
        let uploaded = || lsn(&cluster.pageserver_timeline("main")["remote_consistent_lsn"]);
        let before = uploaded();
        writers.wait_for_progress(500).await;
        assert_eq!(uploaded(), before, "it says that something is safe that is not");
        // WAL that object storage does not cover stays on safekeepers.
        let start = lsn(&cluster.safekeeper_timeline(1, "main")["local_start_lsn"]);
        assert!(start <= before, "{start} {before}");
        disk.make(Trouble::None);
        eventually("it is uploaded", PATIENCE, async || uploaded() > before).await;
        nothing_is_lost(&cluster, writers).await;
        cluster.varve(&["stop"]);
    });
}
