//! The WAL that safekeepers keep is PostgreSQL's own: PostgreSQL's tools read it, and all copies are equal.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::{Cluster, Writers, block_on, eventually, lsn, pg_program, run};
use types::{Lsn, WalSegmentSize};

const SEGMENT: WalSegmentSize = WalSegmentSize::DEFAULT;

fn segment_file(cluster: &Cluster, safekeeper: u16, number: u64) -> PathBuf {
    let (tenant, timeline) = cluster.ids("main");
    let directory = cluster.directory().join(format!("safekeepers/{safekeeper}/{tenant}/{timeline}"));
    directory.join(SEGMENT.file_name(1, number))
}

/// In object storage, which the safekeeper must say is the only place where it is.
fn offloaded_file(cluster: &Cluster, safekeeper: u16, number: u64) -> PathBuf {
    let start = lsn(&cluster.safekeeper_timeline(safekeeper, "main")["local_start_lsn"]);
    assert!(number < start.segment_number(SEGMENT.bytes()), "safekeeper {safekeeper} lost segment {number}");
    let (tenant, timeline) = cluster.ids("main");
    cluster
        .directory()
        .join(format!("remote_storage/wal/{tenant}/{timeline}"))
        .join(SEGMENT.file_name(1, number))
}

async fn fill(cluster: &Cluster, megabytes: u32) {
    let client = cluster.connect("main").await;
    client.batch_execute("CREATE TABLE IF NOT EXISTS filling (n int, t text)").await.unwrap();
    let insert = "INSERT INTO filling SELECT n, repeat(md5(n::text), 32) FROM generate_series(1, 950) n";
    for _ in 0..megabytes {
        client.batch_execute(insert).await.unwrap();
    }
}

/// Bytes of one safekeeper's WAL from the start of a segment to `end`.
fn wal_bytes(cluster: &Cluster, safekeeper: u16, first: u64, end: Lsn) -> Vec<u8> {
    let last = end.segment_number(SEGMENT.bytes());
    let mut bytes = Vec::new();
    for number in first..=last {
        let here = segment_file(cluster, safekeeper, number);
        let file = if here.exists() { here } else { offloaded_file(cluster, safekeeper, number) };
        bytes.extend(std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display())));
    }
    bytes.truncate((end.0 - first * SEGMENT.bytes()) as usize);
    bytes
}

/// All safekeepers come to have the WAL of `main` up to `end`, byte for byte the same. The number of its first
/// segment, and its bytes from there on.
pub async fn equal_copies(cluster: &Cluster, end: Lsn) -> (u64, Vec<u8>) {
    for id in [2, 3] {
        eventually("all safekeepers have it", Duration::from_secs(60), async || {
            lsn(&cluster.safekeeper_timeline(id, "main")["flush_lsn"]) >= end
        })
        .await;
    }
    let first = lsn(&cluster.pageserver_timeline("main")["initdb_lsn"]).segment_number(SEGMENT.bytes());
    let one = wal_bytes(cluster, 1, first, end);
    for id in [2, 3] {
        assert!(one == wal_bytes(cluster, id, first, end), "safekeepers 1 and {id} differ below {end}");
    }
    (first, one)
}

#[test]
fn three_copies_are_one_wal_that_postgres_reads() {
    let cluster = Cluster::up("wal").need_not_evict("it writes much and reads little");
    block_on(async {
        fill(&cluster, 20).await;
        // A divergent tail: what the last compute wrote reaches one safekeeper only, and is not acknowledged.
        let writers = Writers::start(&cluster.connstr("main"), 4).await;
        writers.wait_for_progress(20).await;
        cluster.kill("safekeeper-1");
        cluster.kill("safekeeper-2");
        let committed = lsn(&cluster.safekeeper_timeline(3, "main")["commit_lsn"]);
        eventually("a tail beyond the commit LSN on one safekeeper", Duration::from_secs(30), async || {
            lsn(&cluster.safekeeper_timeline(3, "main")["flush_lsn"]) > committed
        })
        .await;
        let divergent = lsn(&cluster.safekeeper_timeline(3, "main")["flush_lsn"]);
        cluster.kill("endpoint-main");
        cluster.kill("safekeeper-3");
        cluster.varve(&["safekeeper", "start", "--id", "1"]);
        cluster.varve(&["safekeeper", "start", "--id", "2"]);
        cluster.varve(&["endpoint", "start", "main"]);
        let ledger = writers.stop().await;
        fill(&cluster, 20).await;
        cluster.varve(&["safekeeper", "start", "--id", "3"]);
        fill(&cluster, 20).await;
        let history = &cluster.safekeeper_timeline(3, "main")["term_history"];
        assert!(
            divergent > committed && history.as_array().is_some_and(|h| h.len() >= 2),
            "{divergent} {history}"
        );
        let client = cluster.connect("main").await;
        let verdict = ledger.check(harness::ledger_rows(&client).await);
        assert!(verdict.is_clean(), "{verdict:?}");

        let end = lsn(&cluster.safekeeper_timeline(1, "main")["commit_lsn"]);
        let (first, one) = equal_copies(&cluster, end).await;
        let full_segments = end.segment_number(SEGMENT.bytes()) - first;
        assert!(full_segments >= 3, "only {full_segments} full segments");

        // pg_waldump reads from the timeline's first byte to the end.
        let start = lsn(&cluster.pageserver_timeline("main")["initdb_lsn"]).to_string();
        let directory = segment_file(&cluster, 1, first).parent().unwrap().to_owned();
        let dumped = run(Command::new(pg_program("pg_waldump"))
            .args(["--quiet", "--start", &start, "--end", &end.to_string(), "--path"])
            .arg(&directory));
        assert_eq!(dumped, "");
        // And from the file alone, whatever precedes the timeline's start in it.
        let by_file = Command::new(pg_program("pg_waldump"))
            .args(["--limit", "3"])
            .arg(segment_file(&cluster, 1, first + 1))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&by_file.stdout).lines().count(), 3, "{by_file:?}");

        received_by_postgres(&cluster, first, end, &one).await;
    });
}

/// Stock pg_receivewal streams from a safekeeper and writes the same bytes.
async fn received_by_postgres(cluster: &Cluster, first: u64, end: Lsn, expected: &[u8]) {
    let target = tempfile::tempdir().unwrap();
    // It begins with the segment after the last one that it finds, else with the server's current one.
    let begin = first + 1;
    let done = target.path().join(SEGMENT.file_name(1, first));
    std::fs::write(&done, &expected[..SEGMENT.bytes() as usize]).unwrap();
    let (tenant, timeline) = cluster.ids("main");
    let mut receiver = Command::new(pg_program("pg_receivewal"))
        .arg("--directory")
        .arg(target.path())
        .args(["--no-loop", "--host", "127.0.0.1", "--username", "receiver"])
        .args(["--port", &cluster.safekeeper_port(1).to_string()])
        .env("PGPASSWORD", &*cluster.credentials().token())
        .env("PGOPTIONS", format!("-c tenant_id={tenant} -c timeline_id={timeline}"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("pg_receivewal");
    let last = end.segment_number(SEGMENT.bytes());
    // The segment before the last one is complete on the safekeeper, so it must become complete here.
    let complete = target.path().join(SEGMENT.file_name(1, last - 1));
    eventually("pg_receivewal has the full segments", Duration::from_secs(60), async || complete.exists())
        .await;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(receiver.id().cast_signed()),
        nix::sys::signal::Signal::SIGINT,
    )
    .unwrap();
    receiver.wait().unwrap();
    for number in begin..last {
        let received =
            std::fs::read(target.path().join(SEGMENT.file_name(1, number))).expect("a received segment");
        let from = ((number - first) * SEGMENT.bytes()) as usize;
        assert!(received == expected[from..from + SEGMENT.bytes() as usize], "segment {number} differs");
    }
}
