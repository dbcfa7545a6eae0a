//! A pageserver's storage in a temporary directory, and small words for what the tests put and expect.

use std::convert::Infallible;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use durable_fs::DurableFs;
use pageserver::gc::{GarbageCollector, GcMetrics, Retention};
use pageserver::storage::{
    FixedGeneration, Owners, Reconstruct, Redo, StorageConfig, StorageError, StorageMetrics, Surroundings,
    TenantManager, Timeline, TimelineMetadata, Value, WriteBatch,
};
use remote_storage::{Faulty, LocalDir, Operation, RemoteStorage};
use tempfile::TempDir;
use types::{
    Fork, Generation, Key, Lsn, PgVersion, RelTag, SlruKind, TenantId, TenantTimelineId, TimelineId,
    WalSegmentSize,
};

pub const TENANT: TenantId = TenantId([0xAA; 16]);
pub const INITDB: Lsn = Lsn(1000);
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn ttid(number: u8) -> TenantTimelineId {
    TenantTimelineId::new(TENANT, TimelineId([number; 16]))
}

/// Of no relation: what size there is says nothing about it.
pub fn block(number: u32) -> Key {
    Key::slru_block(SlruKind::Clog, 0, number)
}

pub fn relation(rel: u32) -> RelTag {
    RelTag { spc: 1663, db: 5, rel, fork: Fork::Main }
}

/// A block of a relation.
pub fn page(rel: u32, number: u32) -> Key {
    Key::rel_block(relation(rel), number)
}

pub fn rel_size(rel: u32) -> Key {
    Key::rel_size(relation(rel))
}

/// The size of a relation, of which all blocks are written.
pub fn blocks(number: u32) -> Value {
    Value::Image(Bytes::copy_from_slice(&number.to_le_bytes()))
}

/// The blocks that a relation of that size has, also one that makes no sense.
pub fn written(size: &[u8]) -> Vec<Range<u32>> {
    size.first_chunk().map(|blocks| 0..u32::from_le_bytes(*blocks)).into_iter().collect()
}

pub fn image(text: &str) -> Value {
    Value::Image(Bytes::copy_from_slice(text.as_bytes()))
}

pub fn change(text: &str) -> Value {
    Value::Delta { will_init: false, change: Bytes::copy_from_slice(text.as_bytes()) }
}

pub fn batch(end: u64, entries: Vec<(Key, u64, Value)>) -> WriteBatch {
    let entries = entries.into_iter().map(|(key, lsn, value)| (key, Lsn(lsn), value)).collect();
    WriteBatch { entries, end_lsn: Lsn(end), prev_record_lsn: Lsn(end - 1) }
}

/// What a read found, as text: image first, then changes, each with its LSN.
pub fn text(found: &Reconstruct) -> Vec<String> {
    let versions = found.image.iter().chain(&found.deltas);
    versions.map(|(lsn, bytes)| format!("{} {}", lsn.0, String::from_utf8_lossy(bytes))).collect()
}

pub fn metadata() -> TimelineMetadata {
    TimelineMetadata {
        pg_version: PgVersion::V15,
        system_identifier: 7_000_000_000_000_000_001,
        wal_seg_size: WalSegmentSize::DEFAULT,
        tli: 1,
        data_checksums: true,
        initdb_lsn: INITDB,
    }
}

pub struct Disk {
    pub directory: TempDir,
    pub config: StorageConfig,
}

impl Disk {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = StorageConfig::new(directory.path().join("work"));
        config.checkpoint_distance = 64 << 10;
        config.checkpoint_timeout = Duration::from_secs(3600);
        config.ancestor_wait_timeout = Duration::from_secs(5);
        Self { directory, config }
    }

    pub async fn store(&self) -> Arc<dyn RemoteStorage> {
        Arc::new(LocalDir::open(self.directory.path().join("remote"), DurableFs::default()).await.unwrap())
    }

    pub async fn open(&self) -> Arc<TenantManager> {
        self.open_with(self.store().await, DurableFs::default()).await
    }

    pub async fn open_with(&self, remote: Arc<dyn RemoteStorage>, fs: DurableFs) -> Arc<TenantManager> {
        self.open_all(remote, fs, None).await
    }

    pub async fn open_with_redo(&self, redo: Arc<dyn Redo>) -> Arc<TenantManager> {
        self.open_all(self.store().await, DurableFs::default(), Some(redo)).await
    }

    pub async fn open_all(
        &self,
        remote: Arc<dyn RemoteStorage>,
        fs: DurableFs,
        redo: Option<Arc<dyn Redo>>,
    ) -> Arc<TenantManager> {
        self.open_as(Arc::new(FixedGeneration(Generation(1))), remote, fs, redo).await
    }

    pub async fn open_as(
        &self,
        owners: Arc<dyn Owners>,
        remote: Arc<dyn RemoteStorage>,
        fs: DurableFs,
        redo: Option<Arc<dyn Redo>>,
    ) -> Arc<TenantManager> {
        let metrics = StorageMetrics::register(&prometheus::Registry::new()).unwrap();
        let surroundings = Surroundings { remote, metrics, fs, owners, redo };
        TenantManager::open_with(self.config.clone(), surroundings).await.unwrap()
    }

    pub async fn open_with_judge(
        &self,
        judge: impl Fn(Operation, &str) -> bool + Send + Sync + 'static,
    ) -> Arc<TenantManager> {
        let faulty = Faulty::refusing(self.store().await, judge);
        self.open_with(Arc::new(faulty), DurableFs::default()).await
    }

    pub fn timeline_dir(&self, number: u8) -> PathBuf {
        let id = ttid(number);
        self.config.workdir.join(format!("tenants/{}/timelines/{}", id.tenant_id, id.timeline_id))
    }

    pub fn layer_files(&self, number: u8) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.timeline_dir(number)).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }
}

/// A root timeline number 1 whose image layer holds blocks 0 to 9.
pub async fn root_timeline(manager: &TenantManager) -> Result<Arc<Timeline>, StorageError> {
    let pages = (0..10).map(|n| Ok::<_, Infallible>((block(n), Bytes::from(format!("page {n}")))));
    manager.create_root_timeline(ttid(1), metadata(), Lsn(990), pages).await
}

/// A tenant with that timeline.
pub async fn root(manager: &TenantManager) -> Arc<Timeline> {
    manager.create_tenant(TENANT).await.unwrap();
    root_timeline(manager).await.unwrap()
}

/// That a transaction was committed, at this many microseconds since 2000.
pub fn committed(lsn: u64, time: i64) -> (Key, u64, Value) {
    (Key::commit_time(), lsn, Value::Image(Bytes::copy_from_slice(&time.to_le_bytes())))
}

/// Collects all that need not be kept of the past.
pub async fn collect_all(manager: &Arc<TenantManager>) -> Result<usize, StorageError> {
    let retention = Retention { pitr_interval: Duration::ZERO, gc_horizon: 0 };
    let metrics = GcMetrics::new(&prometheus::Registry::new()).unwrap();
    let gc = GarbageCollector::new(manager.clone(), retention, Duration::ZERO, Duration::ZERO, metrics);
    gc.collect(TENANT, retention).await
}

pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// Changes a bit of a layer file, or of its object.
pub fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    // Behind the header: in the first block of entries.
    bytes[40] ^= 0xff;
    std::fs::write(path, bytes).unwrap();
}

pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "did not happen: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
