//! Records made by hand through ingest, and the pages that come of them.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use durable_fs::DurableFs;
use pageserver::ingest::{Ingest, IngestError, IngestMetrics, RelSize};
use pageserver::pages::PageReader;
use pageserver::storage::{
    FixedGeneration, StorageConfig, StorageMetrics, Surroundings, TenantManager, Timeline, TimelineMetadata,
};
use pg_format::wal::{RECORD_HEADER_SIZE, RecordHeader};
use pg_format::{CheckPoint, rmgr};
use prometheus::Registry;
use remote_storage::LocalDir;
use types::{
    Fork, Generation, Key, Lsn, PgVersion, RelTag, TenantId, TenantTimelineId, TimelineId, WalSegmentSize,
};
use wal_decoder::WalRecord;

const REL: RelTag = RelTag { spc: 1663, db: 5, rel: 16384, fork: Fork::Main };
const VM: RelTag = RelTag { fork: Fork::Vm, ..REL };
/// Of a page of the visibility map.
const HEADER: usize = 24;

struct World {
    timeline: Arc<Timeline>,
    pages: PageReader,
    metrics: IngestMetrics,
    ingest: Ingest,
    _directory: tempfile::TempDir,
}

impl World {
    async fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        let (registry, fs) = (Registry::new(), DurableFs::default());
        let pages = PageReader::new(&registry).unwrap();
        let surroundings = Surroundings {
            remote: Arc::new(LocalDir::open(directory.path().join("remote"), fs.clone()).await.unwrap()),
            metrics: StorageMetrics::register(&registry).unwrap(),
            fs,
            owners: Arc::new(FixedGeneration(Generation(1))),
            redo: Some(Arc::new(pages.clone())),
        };
        let config = StorageConfig::new(directory.path().join("work"));
        let manager = TenantManager::open_with(config, surroundings).await.unwrap();
        let id = TenantTimelineId::new(TenantId([1; 16]), TimelineId([2; 16]));
        manager.create_tenant(id.tenant_id).await.unwrap();
        let metadata = TimelineMetadata {
            pg_version: PgVersion::V15,
            system_identifier: 1,
            wal_seg_size: WalSegmentSize::DEFAULT,
            tli: 1,
            data_checksums: false,
            initdb_lsn: Lsn(0x1000),
        };
        let checkpoint = Bytes::copy_from_slice(&CheckPoint::default().encode(PgVersion::V15));
        let entries = [Ok::<_, Infallible>((Key::checkpoint(), checkpoint))].into_iter();
        let timeline = manager.create_root_timeline(id, metadata, Lsn(0), entries).await.unwrap();
        let metrics = IngestMetrics::new(&registry).unwrap();
        let ingest = Ingest::new(Arc::clone(&timeline), pages.clone(), metrics.clone()).await.unwrap();
        World { timeline, pages, metrics, ingest, _directory: directory }
    }

    /// Where the record ends, which is visible then.
    async fn record(&mut self, rmid: u8, info: u8, blocks: Vec<u8>, main_data: &[u8]) -> Lsn {
        let end_lsn = self.try_record(rmid, info, blocks, main_data).await.unwrap();
        self.ingest.flush().await.unwrap();
        end_lsn
    }

    /// Where the record ends, if it was taken in.
    async fn try_record(
        &mut self,
        rmid: u8,
        info: u8,
        blocks: Vec<u8>,
        main_data: &[u8],
    ) -> Result<Lsn, IngestError> {
        let mut body = blocks;
        body.extend([255, main_data.len() as u8]);
        body.extend(main_data);
        let tot_len = (RECORD_HEADER_SIZE + body.len()) as u32;
        let start_lsn = self.ingest.last_record_end();
        let prev = self.ingest.last_record_start();
        let header = RecordHeader { tot_len, xid: 0, prev, info, rmid, crc: 0 };
        let bytes = [header.encode().to_vec(), body].concat().into();
        let end_lsn = (start_lsn + u64::from(tot_len)).align();
        self.ingest.ingest(&WalRecord { start_lsn, end_lsn, bytes }).await?;
        Ok(end_lsn)
    }

    /// As after an error, or a restart.
    async fn begin_again(&mut self) {
        let (pages, metrics) = (self.pages.clone(), self.metrics.clone());
        self.ingest = Ingest::new(Arc::clone(&self.timeline), pages, metrics).await.unwrap();
    }

    /// XLOG_HEAP2_VISIBLE: the heap page at `heap_block` is all visible.
    async fn visible(&mut self, heap_block: u32) -> Lsn {
        let mut blocks = vec![0, VM.fork as u8, 0, 0];
        for field in [REL.spc, REL.db, REL.rel, heap_block / 32672] {
            blocks.extend(field.to_le_bytes());
        }
        blocks.extend([1, 0x80, 0, 0]);
        blocks.extend(heap_block.to_le_bytes());
        self.record(rmgr::HEAP2, 0x40, blocks, &[0, 0, 0, 0, 1]).await
    }

    /// XLOG_SMGR_TRUNCATE of all forks to nothing.
    async fn truncate(&mut self) -> Lsn {
        let fields = [0, REL.spc, REL.db, REL.rel, 7];
        self.record(rmgr::SMGR, 0x20, Vec::new(), &fields.map(u32::to_le_bytes).concat()).await
    }

    async fn size(&self, rel: RelTag, lsn: Lsn) -> RelSize {
        let image = self.timeline.get_reconstruct(Key::rel_size(rel), lsn).await.unwrap().image.unwrap();
        RelSize::decode(&image.1).unwrap()
    }

    async fn page(&self, rel: RelTag, block: u32, lsn: Lsn) -> Bytes {
        let size = self.size(rel, lsn).await;
        self.pages.relation(&self.timeline, rel, &size, block..block + 1, lsn).await.unwrap().remove(0)
    }
}

/// Nothing is read as if the record had not been there; what came before it is.
#[tokio::test]
async fn a_record_that_is_not_understood_stops_ingest_and_is_named() {
    for (rmid, info, said) in [
        (200, 0, "resource manager 200, which an extension brought along"),
        (rmgr::SMGR, 0x70, "Storage (opcode 0x70)"),
        (rmgr::CLOG, 0x10, "CLOG (opcode 0x10)"),
    ] {
        let mut world = World::new().await;
        let create = [REL.spc, REL.db, REL.rel, 0].map(u32::to_le_bytes).concat();
        world.try_record(rmgr::SMGR, 0x10, Vec::new(), &create).await.unwrap();
        let good = world.ingest.last_record_end();
        for _ in 0..2 {
            let error = world.try_record(rmid, info, Vec::new(), &[1]).await.unwrap_err().to_string();
            assert!(error.contains(said) && error.contains(&good.to_string()), "{error}");
            assert_eq!(world.timeline.last_record_lsn(), good, "{error}");
            world.begin_again().await;
            assert_eq!(world.ingest.last_record_end(), good);
        }
        assert_eq!(world.size(REL, good).await.blocks, 0);
    }
}

#[tokio::test]
async fn a_cut_map_page_comes_back_without_its_old_bits() {
    let mut world = World::new().await;
    let before = world.visible(0).await;
    let cut = world.truncate().await;
    let after = world.visible(1).await;
    assert_eq!(world.page(VM, 0, before).await[HEADER], 0b0001);
    assert!(world.page(VM, 0, cut).await.iter().all(|byte| *byte == 0));
    assert_eq!(world.page(VM, 0, after).await[HEADER], 0b0100, "the cut page had the bit of block 0");
    assert_eq!(world.page(REL, 0, after).await[..], [0; types::BLCKSZ], "nor does the heap's");
}

#[tokio::test]
async fn a_jump_far_behind_the_end_costs_one_record_and_brings_nothing_back() {
    let mut world = World::new().await;
    world.visible(5).await;
    world.truncate().await;
    let jump = world.visible(4_000_000_000).await;
    world.truncate().await;
    let again = world.visible(4_000_000_000).await;
    let inside = world.visible(5).await;
    assert!(world.metrics.entries.get() < 50, "{} entries", world.metrics.entries.get());
    for lsn in [jump, again] {
        assert_eq!(world.size(REL, lsn).await.blocks, 4_000_000_001);
        assert!(world.page(VM, 0, lsn).await.iter().all(|byte| *byte == 0));
        assert!(world.page(REL, 5, lsn).await.iter().all(|byte| *byte == 0));
    }
    assert_eq!(world.page(VM, 0, inside).await[HEADER + 1], 0b0100);
    assert!(world.size(REL, inside).await.is_written(5));
    assert!(!world.size(REL, inside).await.is_written(6));
}
