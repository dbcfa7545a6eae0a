//! What is written comes back; what is damaged is found.

use std::cell::Cell;
use std::ops::Range;

use bytes::Bytes;
use layer_format::{
    BlockCache, Compression, Entry, Identity, LayerName, LayerReader, LayerWriter, ReadAt, Value,
};
use proptest::prelude::*;
use types::{Fork, Key, Lsn, RelTag, TenantId, TenantTimelineId, TimelineId};

const LSNS: Range<Lsn> = Lsn(100)..Lsn(200);

fn key(block: u32) -> Key {
    Key::rel_block(RelTag { spc: 1663, db: 5, rel: 16384, fork: Fork::Main }, block)
}

fn timeline() -> TenantTimelineId {
    TenantTimelineId::new(TenantId([7; 16]), TimelineId([9; 16]))
}

fn delta_identity() -> Identity {
    Identity { timeline: timeline(), name: LayerName::delta(Key::MIN..Key::MAX, LSNS) }
}

fn image_identity() -> Identity {
    Identity { timeline: timeline(), name: LayerName::image(Key::MIN..Key::MAX, Lsn(100)) }
}

fn write(identity: &Identity, compression: Compression, entries: &[Entry]) -> Bytes {
    let mut writer = LayerWriter::new(Vec::new(), identity.clone(), compression).unwrap();
    for entry in entries {
        writer.put(entry.key, entry.lsn, &entry.value).unwrap();
    }
    let (bytes, summary) = writer.finish().unwrap();
    assert_eq!((summary.file_length, summary.entries), (bytes.len() as u64, entries.len() as u64));
    bytes.into()
}

fn newest_first(reader: &LayerReader<Bytes>, key: Key, lsns: Range<Lsn>) -> Vec<Entry> {
    newest_first_in(reader, key, lsns, &mut BlockCache::default())
}

fn newest_first_in<R: ReadAt>(
    reader: &LayerReader<R>,
    key: Key,
    lsns: Range<Lsn>,
    cache: &mut BlockCache,
) -> Vec<Entry> {
    let mut found = Vec::new();
    reader
        .visit_newest_first(&key, lsns, cache, |entry| {
            found.push(entry.clone());
            true
        })
        .unwrap();
    found
}

fn value() -> impl Strategy<Value = Value> {
    let bytes = prop_oneof![
        10 => proptest::collection::vec(any::<u8>(), 0..200),
        1 => Just(vec![0xAB; 8192]),
        1 => proptest::collection::vec(any::<u8>(), 20_000..20_001),
    ];
    (0u8..3, bytes).prop_map(|(tag, bytes)| Value::from_tag(tag, bytes.into()).unwrap())
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    proptest::collection::vec((0u32..20, LSNS.start.0..LSNS.end.0, value()), 0..300).prop_map(
        |mut entries| {
            entries.sort_by_key(|(block, lsn, _)| (*block, *lsn));
            entries
                .into_iter()
                .map(|(block, lsn, value)| Entry { key: key(block), lsn: Lsn(lsn), value })
                .collect()
        },
    )
}

fn compression() -> impl Strategy<Value = Compression> {
    prop_oneof![Just(Compression::None), Just(Compression::Lz4), Just(Compression::Zstd(1))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_delta_layer_gives_back_every_range(entries in entries(), compression in compression(), cut in 90u64..210) {
        let identity = delta_identity();
        let bytes = write(&identity, compression, &entries);
        let reader = LayerReader::open(bytes, "layer", &identity).unwrap();
        for block in 0..21 {
            for lsns in [Lsn(0)..Lsn(cut), Lsn(cut)..Lsn(1000)] {
                let mut expected: Vec<Entry> =
                    entries.iter().filter(|e| e.key == key(block) && lsns.contains(&e.lsn)).cloned().collect();
                expected.reverse();
                prop_assert_eq!(newest_first(&reader, key(block), lsns), expected);
            }
        }
        let keys: Vec<Key> = (0..21).filter(|block| block % 3 != 0).map(key).collect();
        let mut cache = BlockCache::default();
        reader.read_ahead(&keys, Lsn(cut), &mut cache).unwrap();
        for key in keys {
            let found = newest_first_in(&reader, key, Lsn(0)..Lsn(cut), &mut cache);
            prop_assert_eq!(found, newest_first(&reader, key, Lsn(0)..Lsn(cut)));
        }
        let scanned: Vec<Entry> = reader.entries_in(key(3)..key(15)).map(Result::unwrap).collect();
        let expected: Vec<Entry> = entries.iter().filter(|e| (key(3)..key(15)).contains(&e.key)).cloned().collect();
        prop_assert_eq!(scanned, expected);
    }
}

/// Counts how often it is read from.
struct Counted<'a>(Bytes, &'a Cell<usize>);

impl ReadAt for Counted<'_> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.1.set(self.1.get() + 1);
        self.0.read_exact_at(buffer, offset)
    }

    fn length(&self) -> std::io::Result<u64> {
        self.0.length()
    }
}

#[test]
fn neighbours_are_read_in_one_go() {
    let images: Vec<Entry> = (0..1000)
        .map(|n| Entry { key: key(n), lsn: Lsn(100), value: Value::Image(vec![n as u8; 8192].into()) })
        .collect();
    let identity = image_identity();
    let bytes = write(&identity, Compression::None, &images);
    let reads = Cell::new(0);
    let reader = LayerReader::open(Counted(bytes, &reads), "layer", &identity).unwrap();
    let mut cache = BlockCache::default();
    let mut reads_of = |keys: &[Key]| {
        let before = reads.get();
        reader.read_ahead(keys, Lsn(101), &mut cache).unwrap();
        for key in keys {
            let mut found = None;
            let visit = |entry: &Entry| {
                found = Some(entry.key);
                false
            };
            reader.visit_newest_first(key, Lsn(100)..Lsn(101), &mut cache, visit).unwrap();
            assert_eq!(found, Some(*key));
        }
        reads.get() - before
    };
    let run: Vec<Key> = (0..32).map(key).collect();
    assert_eq!(reads_of(&run), 2, "a leaf of the index, and all pages");
    assert_eq!(reads_of(&run), 1, "the leaf is known");
    let far: Vec<Key> = [0, 100, 101, 102, 900].map(key).to_vec();
    assert_eq!(reads_of(&far), 4, "three places, and another leaf");
    let many: Vec<Key> = (0..500).map(key).collect();
    assert_eq!(reads_of(&many), 1 + (500 - 64), "what does not fit is read as it comes, a page in a block");
}

/// More than 512 blocks, so that the index has several leaves and one key's versions span them.
#[test]
fn versions_of_one_key_span_leaves() {
    let noise = |n: u64| Bytes::from((0..9000u64).map(|i| ((i * i * n) >> 5) as u8).collect::<Vec<_>>());
    let entries: Vec<Entry> = (0..1300)
        .map(|n| Entry {
            key: key(n / 1000),
            lsn: Lsn(100 + u64::from(n % 1000) / 20),
            value: Value::Image(noise(n.into())),
        })
        .collect();
    let identity = delta_identity();
    let reader = LayerReader::open(write(&identity, Compression::Lz4, &entries), "layer", &identity).unwrap();
    let found = newest_first(&reader, key(0), LSNS);
    assert!(found.iter().eq(entries[..1000].iter().rev()));
    assert_eq!(newest_first(&reader, key(0), Lsn(110)..Lsn(111)).len(), 20);
    assert_eq!(reader.entries_in(key(1)..key(2)).map(Result::unwrap).count(), 300);
    assert_eq!(reader.entries_in(key(0)..key(1)).map(Result::unwrap).count(), 1000);
}

#[test]
fn every_flipped_byte_is_found() {
    let images: Vec<Entry> = (0..40)
        .map(|n| Entry { key: key(n), lsn: Lsn(100), value: Value::Image(vec![n as u8; 900].into()) })
        .collect();
    let deltas: Vec<Entry> = (0..40)
        .map(|n| Entry {
            key: key(n),
            lsn: Lsn(100 + u64::from(n)),
            value: Value::Delta { will_init: n % 7 == 0, change: vec![n as u8; 450].into() },
        })
        .collect();
    for (identity, entries, compression) in [
        (image_identity(), images, Compression::Zstd(1)),
        (delta_identity(), deltas.clone(), Compression::Lz4),
        (delta_identity(), deltas, Compression::None),
    ] {
        let bytes = write(&identity, compression, &entries);
        assert_eq!(read_all(bytes.clone(), &identity).unwrap(), entries);
        for position in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = bytes.to_vec();
                damaged[position] ^= flip;
                let error = read_all(damaged.into(), &identity).expect_err("a flipped byte went unnoticed");
                assert!(error.to_string().contains("some-layer"), "{error}");
            }
        }
        for length in 0..bytes.len() {
            assert!(read_all(bytes.slice(..length), &identity).is_err(), "cut off at {length}");
        }
    }
}

fn read_all(bytes: Bytes, identity: &Identity) -> Result<Vec<Entry>, layer_format::LayerError> {
    let reader = LayerReader::open(bytes, "some-layer", identity)?;
    reader.entries_in(Key::MIN..Key::MAX).collect()
}

#[test]
fn a_layer_of_another_timeline_is_refused() {
    let bytes = write(&image_identity(), Compression::Lz4, &[]);
    assert!(LayerReader::open(bytes.clone(), "layer", &image_identity()).is_ok());
    let mut other = image_identity();
    other.timeline.timeline_id = TimelineId([8; 16]);
    assert!(LayerReader::open(bytes, "layer", &other).err().unwrap().is_corruption());
}

#[test]
fn a_writer_refuses_what_does_not_belong() {
    let image = Value::Image(Bytes::from_static(b"page"));
    let change = Value::Delta { will_init: true, change: Bytes::new() };
    let mut writer = LayerWriter::new(Vec::new(), image_identity(), Compression::Lz4).unwrap();
    writer.put(key(5), Lsn(100), &image).unwrap();
    assert!(writer.put(key(5), Lsn(100), &image).is_err(), "twice");
    assert!(writer.put(key(6), Lsn(101), &image).is_err(), "another LSN");
    assert!(writer.put(key(6), Lsn(100), &change).is_err(), "a change");
    assert!(writer.put(key(4), Lsn(100), &image).is_err(), "out of order");
    assert!(writer.put(Key::MAX, Lsn(100), &image).is_err(), "outside the key range");
}
