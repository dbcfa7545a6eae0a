//! [`synthesise_start`]: the WAL with which a stock PostgreSQL starts at any position without recovery.
//!
//! PostgreSQL starts with what pg_control names as its last checkpoint. If that is a shutdown checkpoint at
//! the very end of WAL there is nothing to recover, and the server goes on writing right behind it. So a
//! server is started at X by a shutdown checkpoint record *at X*. It says the truth, that no transaction is
//! running, and it is the first record of the new server's own WAL: it is sent to the safekeepers as any other.
//!
//! Bytes before X in the segment are zero but for the page headers that a reader looks at; they must
//! never leave the machine.

use types::{BLCKSZ, Lsn, WalSegmentSize};

use crate::CheckPoint;
use crate::field::put;
use crate::rmgr;
use crate::wal::{
    FIRST_IS_CONTRECORD, RECORD_HEADER_SIZE, RecordHeader, WalIdentity, page_header_size, record_crc,
};

/// `XLR_BLOCK_ID_DATA_SHORT`: main data of less than 256 bytes follows.
const ID_MAIN_DATA_SHORT: u8 = 255;
const XLOG_CHECKPOINT_SHUTDOWN: u8 = 0x00;

/// What [`synthesise_start`] makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartWal {
    /// Where the record begins: X, or behind the page header if X is the start of a page. Belongs into pg_control.
    pub record_lsn: Lsn,
    /// Where the next record will begin (PostgreSQL's `EndRecPtr`).
    pub end_lsn: Lsn,
    /// The checkpoint as the record has it. Belongs into pg_control.
    pub checkpoint: CheckPoint,
    /// Whole segment files by number: one, or two if the record crosses into the next.
    pub segments: Vec<(u64, Vec<u8>)>,
}

/// Where a record begins that is written when everything before `end_of_wal` has been.
pub fn record_start(end_of_wal: Lsn, segment_size: WalSegmentSize) -> Lsn {
    if end_of_wal.page_offset() == 0 {
        end_of_wal + page_header_size(end_of_wal, segment_size) as u64
    } else {
        end_of_wal
    }
}

/// WAL that ends in a shutdown checkpoint at `x`.
///
/// `x` is a record boundary and a multiple of 8; `prev` is where the last record before it begins, or zero if
/// nobody knows (then nobody can read across `x`). `checkpoint.redo` is replaced by the record's
/// own position, and its timeline by `identity.tli`.
pub fn synthesise_start(x: Lsn, prev: Lsn, checkpoint: &CheckPoint, identity: &WalIdentity) -> StartWal {
    let record_lsn = record_start(x.align(), identity.segment_size);
    let checkpoint =
        CheckPoint { redo: record_lsn, tli: identity.tli, prev_tli: identity.tli, ..*checkpoint };
    let record = shutdown_record(&checkpoint, prev, identity);
    let mut writer = SegmentWriter { identity, position: record_lsn, segments: Vec::new() };
    writer.begin();
    writer.write(&record);
    let end_lsn = writer.position.align();
    StartWal { record_lsn, end_lsn, checkpoint, segments: writer.segments }
}

/// Header, id and length of main data, `CheckPoint`.
fn shutdown_record(checkpoint: &CheckPoint, prev: Lsn, identity: &WalIdentity) -> Vec<u8> {
    let body = checkpoint.encode(identity.version);
    let tot_len = (RECORD_HEADER_SIZE + 2 + body.len()) as u32;
    let header =
        RecordHeader { tot_len, xid: 0, prev, info: XLOG_CHECKPOINT_SHUTDOWN, rmid: rmgr::XLOG, crc: 0 };
    let mut record = Vec::with_capacity(tot_len as usize);
    record.extend(header.encode());
    record.extend([ID_MAIN_DATA_SHORT, body.len() as u8]);
    record.extend(body);
    let crc = record_crc(&record).unwrap_or_default();
    put(&mut record, 20, &crc.to_le_bytes());
    record
}

struct SegmentWriter<'a> {
    identity: &'a WalIdentity,
    position: Lsn,
    segments: Vec<(u64, Vec<u8>)>,
}

impl SegmentWriter<'_> {
    /// The bytes of the page that begins at `page_start`, in a segment that is made when it is not there yet.
    fn page(&mut self, page_start: Lsn) -> &mut [u8] {
        let size = self.identity.segment_size.bytes();
        let number = page_start.segment_number(size);
        let index = self.segments.iter().position(|(other, _)| *other == number).unwrap_or_else(|| {
            self.segments.push((number, vec![0; size as usize]));
            self.segments.len() - 1
        });
        let at = page_start.segment_offset(size) as usize;
        &mut self.segments[index].1[at..at + BLCKSZ]
    }

    /// Headers of the segment and of the page that the record begins on. What stands on the page before the record
    /// is declared to be the rest of an earlier one, so that readers that look for a first record find ours.
    fn begin(&mut self) {
        let identity = self.identity;
        let segment_size = identity.segment_size;
        let segment_start = self.position.segment_start(segment_size.bytes());
        let page_start = Lsn(self.position.0 - self.position.page_offset());
        let header = page_header_size(page_start, segment_size) as u64;
        let before = self.position.page_offset() - header;
        let info = if before == 0 { 0 } else { FIRST_IS_CONTRECORD };
        identity.write_page_header(self.page(segment_start), segment_start, 0, 0);
        identity.write_page_header(self.page(page_start), page_start, info, before as u32);
    }

    fn write(&mut self, mut bytes: &[u8]) {
        let identity = self.identity;
        while !bytes.is_empty() {
            let at = self.position.page_offset() as usize;
            if at == 0 {
                let page_start = self.position;
                let left = bytes.len() as u32;
                let header =
                    identity.write_page_header(self.page(page_start), page_start, FIRST_IS_CONTRECORD, left);
                self.position += header as u64;
                continue;
            }
            let (now, later) = bytes.split_at(bytes.len().min(BLCKSZ - at));
            let page_start = Lsn(self.position.0 - at as u64);
            put(self.page(page_start), at, now);
            self.position += now.len() as u64;
            bytes = later;
        }
    }
}
