//! The stream decoder and the record decoder on WAL made here: pieces of any size give the same records; WAL that
//! was tampered with gives an error or, where the change is harmless, the same records; nothing panics.

use pg_format::wal::{
    FIRST_IS_CONTRECORD, FIRST_IS_OVERWRITE_CONTRECORD, RECORD_HEADER_SIZE, RecordHeader, WalIdentity,
    record_crc,
};
use pg_format::{CheckPoint, rmgr, synthesise_start};
use proptest::prelude::*;
use types::{BLCKSZ, Lsn, PgVersion, WalSegmentSize};
use wal_decoder::rmgr::xlog::{XLOG_OVERWRITE_CONTRECORD, XLOG_SWITCH, XlogRecord};
use wal_decoder::{DecodeError, Malformation, WalRecord, WalStreamDecoder, decode};

const V: PgVersion = PgVersion::V15;

fn identity() -> WalIdentity {
    let segment_size = WalSegmentSize::new(1 << 20).unwrap();
    WalIdentity { version: V, system_identifier: 42, segment_size, tli: 1 }
}

/// Writes records as PostgreSQL lays them out.
struct Writer {
    start: Lsn,
    bytes: Vec<u8>,
    prev: Lsn,
}

impl Writer {
    fn new(start: Lsn) -> Writer {
        Writer { start, bytes: Vec::new(), prev: Lsn(8) }
    }

    fn position(&self) -> Lsn {
        self.start + self.bytes.len() as u64
    }

    fn page_header(&mut self, info: u16, remaining: usize) {
        let mut header = [0; 40];
        let size = identity().write_page_header(&mut header, self.position(), info, remaining as u32);
        self.bytes.extend(&header[..size]);
    }

    fn record(&mut self, rmid: u8, info: u8, main_data: &[u8]) -> Lsn {
        if self.position().page_offset() == 0 {
            self.page_header(0, 0);
        }
        let start = self.position();
        let record = record(self.prev, rmid, info, main_data);
        self.append(&record);
        while !self.position().is_aligned() {
            self.bytes.push(0);
        }
        self.prev = start;
        start
    }

    fn append(&mut self, mut record: &[u8]) {
        while !record.is_empty() {
            if self.position().page_offset() == 0 {
                self.page_header(FIRST_IS_CONTRECORD, record.len());
            }
            let left = BLCKSZ - self.position().page_offset() as usize;
            let (now, later) = record.split_at(left.min(record.len()));
            self.bytes.extend(now);
            record = later;
        }
    }

    /// A segment switch, and zeros to the end of the segment.
    fn switch(&mut self) {
        self.record(rmgr::XLOG, XLOG_SWITCH, &[]);
        while self.position().segment_offset(1 << 20) != 0 {
            self.bytes.push(0);
        }
    }
}

fn record(prev: Lsn, rmid: u8, info: u8, main_data: &[u8]) -> Vec<u8> {
    let mut body = match main_data.len() {
        0 => Vec::new(),
        1..256 => vec![255, main_data.len() as u8],
        _ => [&[254][..], &(main_data.len() as u32).to_le_bytes()].concat(),
    };
    body.extend(main_data);
    let header =
        RecordHeader { tot_len: (RECORD_HEADER_SIZE + body.len()) as u32, xid: 3, prev, info, rmid, crc: 0 };
    let mut record = [&header.encode()[..], &body].concat();
    let crc = record_crc(&record).unwrap();
    record[20..24].copy_from_slice(&crc.to_le_bytes());
    record
}

fn read_all(start: Lsn, pieces: &[&[u8]]) -> (Vec<WalRecord>, Option<DecodeError>) {
    let mut decoder = WalStreamDecoder::new(start, V, identity().segment_size);
    let mut records = Vec::new();
    for piece in pieces {
        decoder.feed(piece);
        loop {
            match decoder.next_record() {
                Ok(Some(record)) => {
                    assert!(record.end_lsn <= decoder.fed_up_to());
                    records.push(record);
                }
                Ok(None) => break,
                Err(error) => return (records, Some(error)),
            }
        }
    }
    (records, None)
}

/// Starts near the end of a segment, so that records cross pages and segments.
fn written(lengths: &[usize]) -> (Lsn, Vec<u8>, Vec<Lsn>) {
    let start = Lsn((5 << 20) - 8192 - 64);
    let mut writer = Writer::new(start);
    let mut starts = Vec::new();
    for length in lengths {
        starts.push(writer.record(rmgr::LOGICALMSG, 0, &vec![*length as u8; *length]));
    }
    (start, writer.bytes, starts)
}

proptest! {
    #[test]
    fn pieces_of_any_size_give_the_same_records(
        lengths in prop::collection::vec(0usize..20_000, 1..12),
        cuts in prop::collection::vec(1usize..5000, 1..60),
    ) {
        let (start, bytes, starts) = written(&lengths);
        let mut pieces = Vec::new();
        let mut rest = bytes.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        let (records, error) = read_all(start, &pieces);
        prop_assert_eq!(error, None);
        prop_assert_eq!(records.iter().map(|record| record.start_lsn).collect::<Vec<_>>(), starts);
        prop_assert_eq!(records.last().unwrap().end_lsn, start + bytes.len() as u64);
        for (record, length) in records.iter().zip(&lengths) {
            let decoded = decode(record, V).unwrap();
            prop_assert_eq!(decoded.main_data.len(), *length);
            prop_assert!(decoded.main_data.iter().all(|byte| *byte == *length as u8));
        }
    }

    #[test]
    fn changed_bytes_never_give_other_records(
        lengths in prop::collection::vec(0usize..9000, 1..6),
        at in any::<prop::sample::Index>(),
        change in 1u8..,
    ) {
        let (start, mut bytes, _) = written(&lengths);
        let (good, _) = read_all(start, &[&bytes]);
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        let (records, _) = read_all(start, &[&bytes]);
        // All that come out are right; the changed one and those behind it may be missing.
        prop_assert_eq!(&good[..records.len()], &records[..]);
    }

    #[test]
    fn any_bytes_are_an_error_or_wait_for_more(bytes in prop::collection::vec(any::<u8>(), 0..40_000)) {
        let (records, _) = read_all(Lsn(1 << 20), &[&bytes]);
        prop_assert!(records.is_empty());
    }

    #[test]
    fn any_record_contents_are_an_error_or_a_record(body in prop::collection::vec(any::<u8>(), 0..200), rmid in 0u8..22) {
        let header = RecordHeader { tot_len: (24 + body.len()) as u32, xid: 1, prev: Lsn(8), info: 0, rmid, crc: 0 };
        let bytes = [&header.encode()[..], &body].concat().into();
        let record = WalRecord { start_lsn: Lsn(64), end_lsn: Lsn(512), bytes };
        if let Ok(decoded) = decode(&record, V) {
            for block in &decoded.blocks {
                let _ = block.image.as_ref().map(|image| image.restore());
            }
        }
    }
}

#[test]
fn a_switch_ends_with_its_segment() {
    let mut writer = Writer::new(Lsn(3 << 20));
    writer.record(rmgr::LOGICALMSG, 0, b"before");
    writer.switch();
    let after = writer.record(rmgr::LOGICALMSG, 0, b"after");
    let (records, error) = read_all(writer.start, &[&writer.bytes]);
    assert_eq!(error, None);
    assert_eq!(records[1].end_lsn, Lsn(4 << 20));
    assert_eq!(records[2].start_lsn, after);
    // Not before all of it is there.
    let (records, _) = read_all(writer.start, &[&writer.bytes[..(1 << 20) - 1]]);
    assert_eq!(records.len(), 1);
}

#[test]
fn an_unfinished_record_is_left_out_if_the_next_one_says_so() {
    let write = |named: u64| {
        let mut writer = Writer::new(Lsn(3 << 20));
        writer.record(rmgr::LOGICALMSG, 0, b"before");
        let broken = writer.position();
        let unfinished = record(writer.prev, rmgr::LOGICALMSG, 0, &[7; 10_000]);
        writer.append(&unfinished[..BLCKSZ - broken.page_offset() as usize]);
        writer.page_header(FIRST_IS_OVERWRITE_CONTRECORD, 0);
        let contents = [(broken.0 + named).to_le_bytes(), [0; 8]].concat();
        writer.record(rmgr::XLOG, XLOG_OVERWRITE_CONTRECORD, &contents);
        (broken, read_all(writer.start, &[&writer.bytes]))
    };
    let (broken, (records, error)) = write(0);
    assert_eq!((records.len(), error), (2, None));
    let decoded = decode(&records[1], V).unwrap();
    let typed = wal_decoder::rmgr::xlog::decode(&decoded, V).unwrap();
    assert_eq!(typed, XlogRecord::OverwriteContrecord(broken));
    let (broken, (records, error)) = write(8);
    let expected = Malformation::OverwrittenRecord { got: Some(broken + 8), expected: broken };
    assert_eq!((records.len(), error.unwrap().what), (1, expected));
}

#[test]
fn a_gap_is_noticed_by_the_record_behind_it() {
    let (start, bytes, starts) = written(&[10, 10, 10]);
    let first = (starts[1] - start) as usize;
    let mut decoder =
        WalStreamDecoder::new(starts[1], V, identity().segment_size).with_previous_record(Lsn(8));
    decoder.feed(&bytes[first..]);
    let error = decoder.next_record().unwrap_err();
    assert_eq!(error.what, Malformation::PreviousRecord { got: starts[0], expected: Lsn(8) });
    assert_eq!(decoder.next_record(), Err(error), "errors are final");
}

#[test]
fn synthesised_starts_are_readable_at_every_alignment() {
    let segment = 1u64 << 20;
    let near = [
        0,
        8,
        16,
        24,
        32,
        40,
        48,
        64,
        4096,
        8192 - 120,
        8192 - 112,
        8192 - 32,
        8192 - 24,
        8192 - 16,
        8192 - 8,
    ];
    for page in [7 * segment, 7 * segment + 8192, 7 * segment + 5 * 8192, 8 * segment - 8192] {
        for offset in near {
            // Nothing begins inside a page header.
            let header = if page % segment == 0 { 40 } else { 24 };
            if offset != 0 && offset < header {
                continue;
            }
            check_start(Lsn(page + offset));
        }
    }
}

fn check_start(x: Lsn) {
    let checkpoint = CheckPoint { next_xid: 1 << 32 | 800, next_oid: 16384, ..CheckPoint::default() };
    let start = synthesise_start(x, Lsn(1 << 20), &checkpoint, &identity());
    let size = identity().segment_size.bytes();
    let (first, bytes) = &start.segments[0];
    assert_eq!((*first, bytes.len() as u64), (x.segment_number(size), size));
    let stream: Vec<u8> = start.segments.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
    let from = x.segment_offset(size) as usize;
    let to = from + (start.end_lsn - x) as usize;
    let mut decoder = WalStreamDecoder::new(x, V, identity().segment_size).with_system_identifier(42);
    decoder.feed(&stream[from..to]);
    let record = decoder.next_record().unwrap().unwrap_or_else(|| panic!("no record at {x}"));
    assert_eq!((record.start_lsn, record.end_lsn), (start.record_lsn, start.end_lsn), "at {x}");
    assert_eq!(record.header().prev, Lsn(1 << 20));
    let typed = wal_decoder::rmgr::xlog::decode(&decode(&record, V).unwrap(), V).unwrap();
    assert_eq!(typed, XlogRecord::CheckpointShutdown(start.checkpoint));
    assert_eq!((start.checkpoint.redo, start.checkpoint.next_xid), (start.record_lsn, 1 << 32 | 800));
}
