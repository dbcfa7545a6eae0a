//! WAL for tests: real page headers, real record headers, right checksums, no meaning.

use bytes::Bytes;
use pg_format::wal::{FIRST_IS_CONTRECORD, RECORD_HEADER_SIZE, RecordHeader, WalIdentity, record_crc};
use types::{BLCKSZ, Lsn, PgVersion, WalSegmentSize};

/// Writes records one after the other, as a compute would from some LSN on.
pub struct TestWal {
    identity: WalIdentity,
    at: Lsn,
    previous: Lsn,
}

pub const IDENTITY: WalIdentity = WalIdentity {
    version: PgVersion::V15,
    system_identifier: 7_000_000_000_000_000_001,
    segment_size: WalSegmentSize::DEFAULT,
    tli: 1,
};

const RMGR_XLOG: u8 = 0;
const XLOG_NOOP: u8 = 0x20;
const XLOG_SWITCH: u8 = 0x40;

impl TestWal {
    pub fn new(start: Lsn) -> Self {
        Self { identity: IDENTITY, at: start, previous: Lsn(0) }
    }

    /// Where the next record begins, or the header before it.
    pub fn position(&self) -> Lsn {
        self.at
    }

    /// A record with `payload` bytes of `fill` as its main data, and what PostgreSQL writes around it.
    pub fn record(&mut self, payload: usize, fill: u8) -> Bytes {
        let mut body = vec![254]; // XLR_BLOCK_ID_DATA_LONG
        body.extend((payload as u32).to_le_bytes());
        body.extend(std::iter::repeat_n(fill, payload));
        self.put(XLOG_NOOP, body)
    }

    /// A segment switch, with the empty pages up to the end of its segment.
    pub fn switch(&mut self) -> Bytes {
        let mut bytes = self.put(XLOG_SWITCH, Vec::new()).to_vec();
        let segment = self.identity.segment_size.bytes();
        while self.at.segment_offset(segment) != 0 {
            if self.at.page_offset() == 0 {
                self.put_page_header(&mut bytes, 0);
            }
            let rest = BLCKSZ as u64 - self.at.page_offset();
            bytes.extend(std::iter::repeat_n(0, rest as usize));
            self.at += rest;
        }
        bytes.into()
    }

    fn put_page_header(&mut self, out: &mut Vec<u8>, remaining: u32) {
        let info = if remaining > 0 { FIRST_IS_CONTRECORD } else { 0 };
        let mut header = [0; 64];
        let size = self.identity.write_page_header(&mut header, self.at, info, remaining);
        out.extend(&header[..size]);
        self.at += size as u64;
    }

    fn put(&mut self, info: u8, body: Vec<u8>) -> Bytes {
        let mut out = Vec::new();
        if self.at.page_offset() == 0 {
            self.put_page_header(&mut out, 0);
        }
        let tot_len = (RECORD_HEADER_SIZE + body.len()) as u32;
        let mut header = RecordHeader { tot_len, xid: 0, prev: self.previous, info, rmid: RMGR_XLOG, crc: 0 };
        self.previous = self.at;
        let mut record = [header.encode().to_vec(), body].concat();
        header.crc = record_crc(&record).unwrap();
        record[..RECORD_HEADER_SIZE].copy_from_slice(&header.encode());

        let mut rest = record.as_slice();
        while !rest.is_empty() {
            if self.at.page_offset() == 0 {
                self.put_page_header(&mut out, rest.len() as u32);
            }
            let here = rest.len().min(BLCKSZ - self.at.page_offset() as usize);
            out.extend(&rest[..here]);
            self.at += here as u64;
            rest = &rest[here..];
        }
        while !self.at.is_aligned() {
            out.push(0);
            self.at += 1;
        }
        out.into()
    }
}
