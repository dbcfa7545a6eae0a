//! WAL of a stock PostgreSQL through ingest and redo, and out again as a data directory that stock PostgreSQL
//! starts on: nothing between but this crate.
//!
//! Needs PostgreSQL 15's programs; as root it runs them as the user `postgres`.

pub mod server;
mod workload;

use std::convert::Infallible;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use pageserver::basebackup::{BackupError, BackupKind, BackupOptions, ChunkSink, write_backup};
use pageserver::import::{Imported, NewIdentity, import_template};
use pageserver::ingest::{Ingest, IngestMetrics};
use pageserver::pages::PageReader;
use pageserver::storage::{
    FixedGeneration, StorageConfig, StorageMetrics, Surroundings, TenantManager, Timeline,
};
use pg_format::ControlFile;
use prometheus::Registry;
use remote_storage::LocalDir;
use server::Server;
use types::{Generation, Lsn, PgVersion, TenantId, TenantTimelineId, TimelineId};
use wal_decoder::WalStreamDecoder;

struct Store {
    manager: Arc<TenantManager>,
    pages: PageReader,
    ingest: IngestMetrics,
    timeline: Arc<Timeline>,
}

async fn open_store(directory: &Path, imported: Imported) -> Store {
    let registry = Registry::new();
    let fs = durable_fs::DurableFs::default();
    let remote = LocalDir::open(directory.join("remote"), fs.clone()).await.unwrap();
    let pages = PageReader::new(&registry).unwrap();
    let surroundings = Surroundings {
        remote: Arc::new(remote),
        metrics: StorageMetrics::register(&registry).unwrap(),
        fs,
        owners: Arc::new(FixedGeneration(Generation(1))),
        redo: Some(Arc::new(pages.clone())),
    };
    // Small, so that all kinds of layers are read.
    let config =
        StorageConfig { checkpoint_distance: 8 << 20, ..StorageConfig::new(directory.join("pageserver")) };
    let manager = TenantManager::open_with(config, surroundings).await.unwrap();
    let id = TenantTimelineId::new(TenantId::generate(), TimelineId::generate());
    manager.create_tenant(id.tenant_id).await.unwrap();
    let entries = imported.entries.into_iter().map(Ok::<_, Infallible>);
    let prev = imported.prev_record_lsn;
    let timeline = manager.create_root_timeline(id, imported.metadata, prev, entries).await.unwrap();
    Store { manager, pages, ingest: IngestMetrics::new(&registry).unwrap(), timeline }
}

impl Store {
    /// Everything that the server's pg_wal has behind the timeline's end.
    async fn ingest_segments(&self, pg_wal: &Path) {
        let mut ingest =
            Ingest::new(Arc::clone(&self.timeline), self.pages.clone(), self.ingest.clone()).await.unwrap();
        let metadata = self.timeline.metadata();
        let size = metadata.wal_seg_size;
        let start = ingest.last_record_end();
        let mut decoder = WalStreamDecoder::new(start, metadata.pg_version, size)
            .with_system_identifier(metadata.system_identifier)
            .with_previous_record(ingest.last_record_start());
        let mut number = start.segment_number(size.bytes());
        let mut skip = start.segment_offset(size.bytes()) as usize;
        while let Ok(segment) = std::fs::read(pg_wal.join(size.file_name(metadata.tli, number))) {
            for piece in segment[skip..].chunks(100_000) {
                decoder.feed(piece);
                // What comes after the last record is an old segment's bytes: it is no record.
                while let Ok(Some(record)) = decoder.next_record() {
                    ingest.ingest(&record).await.unwrap();
                }
            }
            (skip, number) = (0, number + 1);
        }
        ingest.flush().await.unwrap();
    }

    async fn export(&self, lsn: Lsn, prev_lsn: Lsn, target: &Path) {
        let collected = Collected::default();
        let options = BackupOptions { kind: BackupKind::Full, lsn, prev_lsn, zstd: true };
        write_backup(&self.timeline, &self.pages, options, collected.clone()).await.unwrap();
        let bytes = collected.0.lock().unwrap();
        let decoder = zstd::stream::read::Decoder::new(&bytes[..]).unwrap();
        tar::Archive::new(decoder).unpack(target).unwrap();
        server::give_to_postgres(target);
    }
}

#[derive(Clone, Default)]
struct Collected(Arc<Mutex<Vec<u8>>>);

impl ChunkSink for Collected {
    async fn send(&mut self, chunk: Bytes) -> Result<(), BackupError> {
        self.0.lock().unwrap().extend_from_slice(&chunk);
        Ok(())
    }
}

/// The data directory as a template, and the identity that makes the copy the same cluster.
fn template(data: &Path) -> Imported {
    let mut tar = tar::Builder::new(zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap());
    tar.append_dir_all(".", data).unwrap();
    let tar_zst = tar.into_inner().unwrap().finish().unwrap();
    let mut control = Vec::new();
    std::fs::File::open(data.join("global/pg_control")).unwrap().read_to_end(&mut control).unwrap();
    let control = ControlFile::decode(&control).unwrap();
    let identity = NewIdentity {
        system_identifier: control.system_identifier,
        nonce: control.mock_authentication_nonce,
    };
    import_template(&tar_zst, PgVersion::V15, identity).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_what_the_server_was() {
    if !server::installed() {
        eprintln!("skipped: PostgreSQL 15 is not installed");
        return;
    }
    let directory = server::scratch_directory();
    let original = Server::init(&directory.path().join("original"));
    let store = open_store(directory.path(), template(original.data())).await;

    original.start();
    workload::run(&original);
    let middle_lsn: Lsn = original.sql("select pg_current_wal_insert_lsn()").parse().unwrap();
    let middle_dump = original.dump_all();
    workload::go_on(&original);
    workload::check_sums(&original);
    let dump = original.dump_all();
    original.stop();

    store.ingest_segments(&original.data().join("pg_wal")).await;
    let (last, prev) = store.timeline.last_and_prev_record_lsn();
    assert!(last > middle_lsn, "ingested to {last} only, wanted more than {middle_lsn}");

    for (name, lsn, prev, expected) in
        [("end", last, prev, dump), ("middle", middle_lsn, Lsn::INVALID, middle_dump)]
    {
        let target = directory.path().join(name);
        store.export(lsn, prev, &target).await;
        let copy = Server::adopt(&target);
        copy.start();
        workload::check_sums(&copy);
        let found = copy.dump_all();
        assert!(
            found == expected,
            "the dump at {lsn} ({name}) differs: {}",
            first_difference(&expected, &found)
        );
        copy.amcheck();
        copy.sql("create table written_by_the_copy as select 1 as one; checkpoint");
        copy.stop();
    }
    store.manager.shutdown().await.unwrap();
}

fn first_difference(one: &str, other: &str) -> String {
    let lines = one.lines().zip(other.lines()).enumerate();
    lines
        .filter(|(_, (a, b))| a != b)
        .map(|(number, (a, b))| format!("line {number}: {a:?} against {b:?}"))
        .next()
        .unwrap_or_else(|| format!("{} bytes against {}", one.len(), other.len()))
}
