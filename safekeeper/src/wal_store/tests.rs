//! The store through crashes, truncations and restarts.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use durable_fs::{DurableFs, Faults, Step};
use types::{Lsn, PgVersion, WalSegmentSize};

use crate::wal_store::test_wal::{IDENTITY, TestWal};
use crate::wal_store::{Begin, Segments, WalReader, WalStore, WalStoreError, synthesise};

const SEGMENT: u64 = 16 << 20;

struct Place {
    directory: tempfile::TempDir,
    start: Lsn,
}

impl Place {
    /// An empty timeline that begins at `start`.
    fn new(start: Lsn) -> Self {
        Self { directory: tempfile::tempdir().unwrap(), start }
    }

    fn segments(&self) -> Segments {
        Segments::new(self.directory.path().to_owned(), 1, WalSegmentSize::DEFAULT)
            .starting_at(IDENTITY, self.start)
    }

    fn open_from(&self, fs: DurableFs, known_good: Lsn) -> Result<WalStore, WalStoreError> {
        let begin = Begin { start_lsn: self.start, local_start_lsn: Lsn::INVALID };
        WalStore::open(fs, self.segments(), PgVersion::V15, WalSegmentSize::DEFAULT, begin, known_good)
    }

    fn open(&self) -> WalStore {
        self.open_from(DurableFs::default(), self.start).unwrap()
    }

    fn bytes(&self, from: Lsn, to: Lsn) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut at = from;
        while at < to {
            let file = std::fs::read(self.segments().path(self.segments().number(at))).unwrap();
            let here = self.segments().rest(at).min(to - at) as usize;
            let offset = self.segments().offset(at) as usize;
            bytes.extend(&file[offset..offset + here]);
            at += here as u64;
        }
        bytes
    }
}

/// In the file, and not durable.
fn append(store: &mut WalStore, bytes: &Bytes) {
    store.append(store.write_lsn(), bytes).unwrap();
    store.write_out().unwrap();
}

const START: Lsn = Lsn(SEGMENT + 0x2_0028);

#[test]
fn the_flush_lsn_is_the_end_of_a_whole_record() {
    let place = Place::new(START);
    let mut store = place.open();
    assert_eq!((store.write_lsn(), store.flush_lsn()), (START, START));
    let mut wal = TestWal::new(START);
    let first = wal.record(100, 1);
    let boundary = wal.position();
    let second = wal.record(20_000, 2);
    append(&mut store, &first);
    append(&mut store, &second.slice(..10_000));
    assert_eq!(store.flush_lsn(), START, "nothing is durable yet");
    assert_eq!(store.flush().unwrap(), boundary);
    append(&mut store, &second.slice(10_000..));
    assert_eq!(store.flush().unwrap(), wal.position());
    assert_eq!(place.bytes(START, wal.position()), [first, second].concat());
}

#[tokio::test]
async fn a_timeline_without_wal_takes_no_space_and_can_be_read() {
    let place = Place::new(START);
    drop(place.open());
    assert!(place.segments().existing().unwrap().is_empty());
    let before = synthesise(&IDENTITY, START);
    let read = async |from: u64, to: u64| {
        let reader = &mut WalReader::new(place.segments(), None, Lsn(SEGMENT + from));
        reader.read(Lsn(SEGMENT + to), 1 << 20).await
    };
    assert_eq!(read(0, 0x2_0028).await.unwrap(), before);
    assert_eq!(read(8192, 8300).await.unwrap(), before[8192..8300]);
    assert!(read(8192, 0x2_0030).await.is_err(), "there is no WAL behind the start");

    let mut store = place.open();
    append(&mut store, &TestWal::new(START).record(100, 1));
    store.flush().unwrap();
    assert_eq!(place.bytes(Lsn(SEGMENT), START), before);
}

#[test]
fn a_sparse_segment_is_filled_before_it_is_written_to() {
    let place = Place::new(START);
    let path = place.segments().path(1);
    std::fs::write(&path, synthesise(&IDENTITY, START)).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(SEGMENT).unwrap();
    let blocks = || file.metadata().unwrap().blocks() * 512;
    let mut store = place.open();
    assert!(blocks() < SEGMENT / 2);
    append(&mut store, &TestWal::new(START).record(100, 1));
    assert!(blocks() >= SEGMENT);
    assert_eq!(place.bytes(Lsn(SEGMENT), START), synthesise(&IDENTITY, START));
}

/// Counts writes.
#[derive(Default)]
struct Writes(AtomicUsize);

impl Faults for Writes {
    fn before(&self, step: Step, _path: &Path) -> io::Result<()> {
        self.0.fetch_add(usize::from(step == Step::Write), Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn small_pieces_are_written_as_one_and_a_truncation_forgets_them() {
    let place = Place::new(START);
    let writes = Arc::new(Writes::default());
    let mut store = place.open_from(DurableFs::with_faults(writes.clone()), START).unwrap();
    let mut wal = TestWal::new(START);
    append(&mut store, &wal.record(100, 1));
    store.flush().unwrap();
    let kept = store.write_lsn();
    let before = writes.0.load(Ordering::Relaxed);
    for number in 0..50 {
        store.append(store.write_lsn(), &wal.record(100, number)).unwrap();
    }
    assert_eq!(writes.0.load(Ordering::Relaxed), before);
    assert_eq!(store.flush().unwrap(), wal.position());
    assert_eq!(writes.0.load(Ordering::Relaxed), before + 1);
    let flushed = store.write_lsn();
    store.append(flushed, &wal.record(100, 7)).unwrap();
    store.truncate(kept).unwrap();
    assert_eq!(store.write_lsn(), kept);
    append(&mut store, &TestWal::new(kept).record(200, 8));
    store.flush().unwrap();
    assert!(
        place.bytes(flushed, Lsn(2 * SEGMENT)).iter().all(|byte| *byte == 0),
        "what was forgotten came back"
    );
}

#[test]
fn a_torn_tail_is_cut_at_start() {
    let place = Place::new(START);
    let mut wal = TestWal::new(START);
    let mut store = place.open();
    append(&mut store, &wal.record(3000, 1));
    let whole = wal.position();
    let torn = wal.record(50_000, 2);
    append(&mut store, &torn.slice(..30_000));
    drop(store);

    let store = place.open();
    assert_eq!((store.write_lsn(), store.flush_lsn()), (whole, whole));
    let segment_end = Lsn(2 * SEGMENT);
    assert!(place.bytes(whole, segment_end).iter().all(|byte| *byte == 0), "stale bytes are gone");

    // A later position that is known to be good gives the same end.
    assert_eq!(place.open_from(DurableFs::default(), whole).unwrap().flush_lsn(), whole);
}

#[test]
fn records_go_on_across_segments_and_restarts() {
    let place = Place::new(START);
    let mut wal = TestWal::new(START);
    let mut expected = Vec::new();
    for round in 0..5 {
        let mut store = place.open();
        assert_eq!(store.flush_lsn(), wal.position());
        for _ in 0..20 {
            let record = wal.record(400_000, round);
            append(&mut store, &record);
            expected.extend_from_slice(&record);
        }
        store.flush().unwrap();
    }
    assert!(wal.position() > Lsn(3 * SEGMENT));
    assert_eq!(place.bytes(START, wal.position()), expected);
}

#[test]
fn truncation_leaves_zeros_and_no_later_segments() {
    let place = Place::new(START);
    let mut wal = TestWal::new(START);
    let mut store = place.open();
    append(&mut store, &wal.record(1000, 1));
    let common = wal.position();
    for _ in 0..40 {
        append(&mut store, &wal.record(1_000_000, 2));
    }
    store.flush().unwrap();
    assert!(place.segments().existing().unwrap().len() >= 3);

    assert!(matches!(store.truncate(wal.position() + 8), Err(WalStoreError::TruncateOutside { .. })));
    assert!(matches!(store.truncate(Lsn(START.0 - 8)), Err(WalStoreError::TruncateOutside { .. })));
    store.truncate(common).unwrap();
    assert_eq!((store.write_lsn(), store.flush_lsn()), (common, common));
    assert_eq!(place.segments().existing().unwrap(), [1]);
    assert!(place.bytes(common, Lsn(2 * SEGMENT)).iter().all(|byte| *byte == 0));

    // Another writer goes on from there; its records know nothing of what was cut.
    let mut other = TestWal::new(common);
    append(&mut store, &other.record(500, 3));
    assert_eq!(store.flush().unwrap(), other.position());
    drop(store);
    assert_eq!(place.open().flush_lsn(), other.position());
}

#[test]
fn a_segment_switch_counts_with_all_its_empty_pages() {
    let place = Place::new(START);
    let mut wal = TestWal::new(START);
    let mut store = place.open();
    append(&mut store, &wal.record(1000, 1));
    let before = wal.position();
    let switch = wal.switch();
    assert_eq!(wal.position(), Lsn(2 * SEGMENT));
    append(&mut store, &switch.slice(..100_000));
    assert_eq!(store.flush().unwrap(), before);
    drop(store);
    let mut store = place.open();
    assert_eq!(store.flush_lsn(), before, "the missing pages are not taken for zeros");

    append(&mut store, &switch);
    assert_eq!(store.flush().unwrap(), wal.position());
    append(&mut store, &wal.record(1000, 2));
    store.flush().unwrap();
    drop(store);
    assert_eq!(place.open().flush_lsn(), wal.position());
}

#[test]
fn what_is_not_wal_is_refused_and_can_be_recovered_from() {
    let place = Place::new(START);
    let mut wal = TestWal::new(START);
    let mut store = place.open();
    append(&mut store, &wal.record(100, 1));
    let good = store.flush().unwrap();
    assert!(matches!(
        store.append(Lsn(good.0 + 8), &Bytes::from_static(b"x")),
        Err(WalStoreError::NotContiguous { .. })
    ));
    let mut broken = wal.record(100, 2).to_vec();
    broken[60] ^= 1;
    assert!(matches!(store.append(good, &broken.into()), Err(WalStoreError::NotWal { .. })));
    assert!(matches!(store.append(good, &Bytes::from_static(b"x")), Err(WalStoreError::Interrupted)));
    assert_eq!(store.flush().unwrap(), good);
    store.truncate(good).unwrap();
    append(&mut store, &TestWal::new(good).record(100, 2));
    assert!(store.flush().unwrap() > good);
}

#[test]
fn lost_segments_are_noticed() {
    let place = Place::new(START);
    let mut wal = TestWal::new(START);
    let mut store = place.open();
    for _ in 0..20 {
        append(&mut store, &wal.record(1_000_000, 1));
    }
    let end = store.flush().unwrap();
    drop(store);
    std::fs::remove_file(place.segments().path(1)).unwrap();
    let error = place.open_from(DurableFs::default(), end).map(|_| ()).unwrap_err();
    assert!(matches!(error, WalStoreError::Lost { .. }), "{error}");
}

/// Fails one kind of step while switched on.
struct Failing {
    on: AtomicBool,
    step: Step,
}

impl Faults for Failing {
    fn before(&self, step: Step, _path: &Path) -> io::Result<()> {
        let fails = step == self.step && self.on.load(Ordering::Relaxed);
        if fails { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

#[test]
fn a_full_disk_refuses_appends_until_there_is_space() {
    let faults = Arc::new(Failing { on: AtomicBool::new(false), step: Step::CreateFile });
    let place = Place::new(Lsn(SEGMENT + 0x2_0028));
    let mut store = place.open_from(DurableFs::with_faults(faults.clone()), place.start).unwrap();
    let mut wal = TestWal::new(START);
    append(&mut store, &wal.record(15_000_000, 1));
    let good = store.flush().unwrap();
    faults.on.store(true, Ordering::Relaxed);
    let next = wal.record(5_000_000, 2);
    let error = store.append(good, &next).unwrap_err();
    assert!(error.is_disk_full() && !error.is_sync_failure(), "{error}");
    assert_eq!(store.flush().unwrap(), good);

    faults.on.store(false, Ordering::Relaxed);
    store.truncate(good).unwrap();
    append(&mut store, &next);
    assert_eq!(store.flush().unwrap(), wal.position());
}

#[test]
fn a_failed_fsync_is_told_apart() {
    let faults = Arc::new(Failing { on: AtomicBool::new(false), step: Step::SyncFile });
    let place = Place::new(START);
    let mut store = place.open_from(DurableFs::with_faults(faults.clone()), place.start).unwrap();
    append(&mut store, &TestWal::new(START).record(100, 1));
    faults.on.store(true, Ordering::Relaxed);
    assert!(store.flush().unwrap_err().is_sync_failure());
    assert_eq!(store.flush_lsn(), START);
}

/// The page cache, as it is after a failed fsync: what was dirty is clean, can be read, and reaches the disk only if it is
/// written again. Of segments; temporary files are another matter.
#[derive(Default)]
struct PageCache {
    fails_next: AtomicBool,
    dirty: AtomicBool,
    lost: AtomicBool,
    writes: AtomicUsize,
}

impl Faults for PageCache {
    fn before(&self, step: Step, path: &Path) -> io::Result<()> {
        if path.extension().is_some() {
            return Ok(());
        }
        if step == Step::Write {
            self.writes.fetch_add(1, Ordering::Relaxed);
            self.dirty.store(true, Ordering::Relaxed);
        }
        if step == Step::SyncFile && self.dirty.swap(false, Ordering::Relaxed) {
            let fails = self.fails_next.swap(false, Ordering::Relaxed);
            self.lost.store(fails, Ordering::Relaxed);
            return if fails { Err(io::ErrorKind::Other.into()) } else { Ok(()) };
        }
        Ok(())
    }
}

#[test]
fn what_a_failed_fsync_has_left_is_written_again_before_it_counts() {
    let cache = Arc::new(PageCache::default());
    let fs = || DurableFs::with_faults(cache.clone());
    let place = Place::new(START);
    let mut store = place.open_from(fs(), START).unwrap();
    let mut wal = TestWal::new(START);
    append(&mut store, &wal.record(100, 1));
    let good = store.flush().unwrap();
    let written = wal.record(3_000_000, 2);
    append(&mut store, &written);
    cache.fails_next.store(true, Ordering::Relaxed);
    assert!(store.flush().unwrap_err().is_sync_failure());
    assert!(cache.lost.load(Ordering::Relaxed));
    drop(store);

    let mut store = place.open_from(fs(), good).unwrap();
    assert_eq!(store.flush_lsn(), wal.position(), "it can be read");
    assert!(!cache.lost.load(Ordering::Relaxed), "it counts as durable, and is not on disk");
    assert_eq!(place.bytes(good, wal.position()), written);
    append(&mut store, &wal.record(100, 3));
    store.flush().unwrap();
    drop(store);

    // Of one that is known to be durable up to its end nothing is written again.
    let before = cache.writes.load(Ordering::Relaxed);
    assert_eq!(place.open_from(fs(), wal.position()).unwrap().flush_lsn(), wal.position());
    assert_eq!(cache.writes.load(Ordering::Relaxed), before);
}

#[tokio::test]
async fn readers_read_up_to_the_given_end_only() {
    let place = Place::new(START);
    let mut wal = TestWal::new(START);
    let mut store = place.open();
    let mut expected = Vec::new();
    for _ in 0..20 {
        let record = wal.record(1_000_000, 1);
        append(&mut store, &record);
        expected.extend_from_slice(&record);
    }
    store.flush().unwrap();
    let end = Lsn(wal.position().0 - 5000);
    expected.truncate((end - START) as usize);
    let mut reader = WalReader::new(place.segments(), None, START);
    let mut read = Vec::new();
    loop {
        let bytes = reader.read(end, 100_000).await.unwrap();
        if bytes.is_empty() {
            break;
        }
        assert!(bytes.len() <= 100_000);
        read.extend_from_slice(&bytes);
    }
    assert_eq!(reader.position(), end);
    assert!(read == expected);
}
