//! Headers of WAL pages and of WAL records.
//!
//! ```text
//!  page header           0 magic u16   2 info u16   4 tli u32   8 pageaddr u64   16 rem_len u32   20 zero
//!  long header adds     24 system identifier u64   32 segment size u32   36 page size u32
//!  record header         0 tot_len u32   4 xid u32   8 prev u64   16 info u8   17 rmid u8   18 zero   20 crc u32
//! ```
//! A record begins at a multiple of 8 bytes and goes on behind the next page's header when its page ends.

use types::{BLCKSZ, Lsn, PgVersion, WalSegmentSize};

use crate::field::{put, u16_at, u32_at, u64_at};
use crate::{crc32c, crc32c_append, version};

pub const SHORT_PAGE_HEADER_SIZE: usize = 24;
pub const LONG_PAGE_HEADER_SIZE: usize = 40;
pub const RECORD_HEADER_SIZE: usize = 24;

/// Longest record that is believed (`XLogRecordMaxSize` of later versions; 15 never writes longer ones).
pub const MAX_RECORD_SIZE: usize = 1020 << 20;

/// The page begins with the rest of a record from the page before.
pub const FIRST_IS_CONTRECORD: u16 = 0x0001;
/// The header is a long one: the page begins a segment.
pub const LONG_HEADER: u16 = 0x0002;
/// Full-page images that begin on this page may be left out of copies.
pub const BKP_REMOVABLE: u16 = 0x0004;
/// The record that the page before began was never finished; this page begins with another one.
pub const FIRST_IS_OVERWRITE_CONTRECORD: u16 = 0x0008;
pub const ALL_PAGE_FLAGS: u16 = 0x000f;

/// Bytes of the header of the WAL page that begins at `page_start`.
pub const fn page_header_size(page_start: Lsn, segment_size: WalSegmentSize) -> usize {
    if page_start.segment_offset(segment_size.bytes()) == 0 {
        LONG_PAGE_HEADER_SIZE
    } else {
        SHORT_PAGE_HEADER_SIZE
    }
}

/// Whether WAL can go on at an LSN with a new record: records are aligned, and none begins inside the header of a page.
pub const fn can_begin_record(lsn: Lsn, segment_size: WalSegmentSize) -> bool {
    let offset = lsn.page_offset();
    let header = page_header_size(Lsn(lsn.0 - offset), segment_size) as u64;
    lsn.0 == lsn.align().0 && (offset == 0 || offset >= header)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageHeader {
    pub magic: u16,
    pub info: u16,
    pub tli: u32,
    pub page_address: Lsn,
    /// Bytes of the record from the page before that are still to come, on this page and further ones.
    pub remaining_length: u32,
}

/// The part of the long header that identifies the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongPart {
    pub system_identifier: u64,
    pub segment_size: u32,
    pub page_size: u32,
}

impl PageHeader {
    pub fn decode(bytes: &[u8; SHORT_PAGE_HEADER_SIZE]) -> PageHeader {
        PageHeader {
            magic: u16_at(bytes, 0),
            info: u16_at(bytes, 2),
            tli: u32_at(bytes, 4),
            page_address: Lsn(u64_at(bytes, 8)),
            remaining_length: u32_at(bytes, 16),
        }
    }

    pub fn encode(&self) -> [u8; SHORT_PAGE_HEADER_SIZE] {
        let mut bytes = [0; SHORT_PAGE_HEADER_SIZE];
        put(&mut bytes, 0, &self.magic.to_le_bytes());
        put(&mut bytes, 2, &self.info.to_le_bytes());
        put(&mut bytes, 4, &self.tli.to_le_bytes());
        put(&mut bytes, 8, &self.page_address.0.to_le_bytes());
        put(&mut bytes, 16, &self.remaining_length.to_le_bytes());
        bytes
    }
}

impl LongPart {
    pub const SIZE: usize = LONG_PAGE_HEADER_SIZE - SHORT_PAGE_HEADER_SIZE;

    pub fn decode(bytes: &[u8; LongPart::SIZE]) -> LongPart {
        LongPart {
            system_identifier: u64_at(bytes, 0),
            segment_size: u32_at(bytes, 8),
            page_size: u32_at(bytes, 12),
        }
    }

    pub fn encode(&self) -> [u8; LongPart::SIZE] {
        let mut bytes = [0; LongPart::SIZE];
        put(&mut bytes, 0, &self.system_identifier.to_le_bytes());
        put(&mut bytes, 8, &self.segment_size.to_le_bytes());
        put(&mut bytes, 12, &self.page_size.to_le_bytes());
        bytes
    }
}

/// What every page header of one timeline has in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalIdentity {
    pub version: PgVersion,
    pub system_identifier: u64,
    pub segment_size: WalSegmentSize,
    pub tli: u32,
}

impl WalIdentity {
    /// Writes the header of the page that begins at `page_start`, long or short, to the front of `page`
    /// and returns its length.
    ///
    /// # Panics
    /// If `page` is shorter than the header.
    pub fn write_page_header(
        &self,
        page: &mut [u8],
        page_start: Lsn,
        info: u16,
        remaining_length: u32,
    ) -> usize {
        let size = page_header_size(page_start, self.segment_size);
        let long = size == LONG_PAGE_HEADER_SIZE;
        let header = PageHeader {
            magic: version::wal_page_magic(self.version),
            info: info | if long { LONG_HEADER } else { 0 },
            tli: self.tli,
            page_address: page_start,
            remaining_length,
        };
        put(page, 0, &header.encode());
        if long {
            let long_part = LongPart {
                system_identifier: self.system_identifier,
                segment_size: u32::from(self.segment_size),
                page_size: BLCKSZ as u32,
            };
            put(page, SHORT_PAGE_HEADER_SIZE, &long_part.encode());
        }
        size
    }
}

/// `XLogRecord`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Length of the whole record, this header included.
    pub tot_len: u32,
    pub xid: u32,
    /// Where the record before it begins.
    pub prev: Lsn,
    /// High four bits: the resource manager's. Low four: `XLR_*`.
    pub info: u8,
    pub rmid: u8,
    pub crc: u32,
}

/// `xl_info`: the resource manager's part.
pub const RMGR_INFO_MASK: u8 = 0xf0;
/// `xl_info`: every block has an image to be compared with after redo (`wal_consistency_checking`).
pub const CHECK_CONSISTENCY: u8 = 0x02;

impl RecordHeader {
    pub fn decode(bytes: &[u8; RECORD_HEADER_SIZE]) -> RecordHeader {
        RecordHeader {
            tot_len: u32_at(bytes, 0),
            xid: u32_at(bytes, 4),
            prev: Lsn(u64_at(bytes, 8)),
            info: bytes[16],
            rmid: bytes[17],
            crc: u32_at(bytes, 20),
        }
    }

    pub fn encode(&self) -> [u8; RECORD_HEADER_SIZE] {
        let mut bytes = [0; RECORD_HEADER_SIZE];
        put(&mut bytes, 0, &self.tot_len.to_le_bytes());
        put(&mut bytes, 4, &self.xid.to_le_bytes());
        put(&mut bytes, 8, &self.prev.0.to_le_bytes());
        bytes[16] = self.info;
        bytes[17] = self.rmid;
        put(&mut bytes, 20, &self.crc.to_le_bytes());
        bytes
    }
}

/// Checksum of a whole record as its header's `crc` should have it: what follows the header first, then
/// the header up to `crc`. None if the record is shorter than a header.
pub fn record_crc(record: &[u8]) -> Option<u32> {
    let (header, payload) = record.split_at_checked(RECORD_HEADER_SIZE)?;
    Some(crc32c_append(crc32c(payload), &header[..RECORD_HEADER_SIZE - 4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_begin_aligned_and_behind_headers() {
        let segment = 5 * WalSegmentSize::DEFAULT.bytes();
        let begins = |lsn| can_begin_record(Lsn(lsn), WalSegmentSize::DEFAULT);
        for lsn in [segment, segment + 40, segment + 8192, segment + 8192 + 24, segment + 8192 + 32] {
            assert!(begins(lsn), "{lsn:x}");
        }
        for lsn in [segment + 8, segment + 32, segment + 8192 + 16, segment + 100, segment + 8192 + 33] {
            assert!(!begins(lsn), "{lsn:x}");
        }
    }

    #[test]
    fn headers_come_back() {
        let identity = WalIdentity {
            version: PgVersion::V15,
            system_identifier: 7,
            segment_size: WalSegmentSize::DEFAULT,
            tli: 3,
        };
        let mut page = [0; BLCKSZ];
        let start = Lsn(5 * WalSegmentSize::DEFAULT.bytes());
        assert_eq!(
            identity.write_page_header(&mut page, start, FIRST_IS_CONTRECORD, 99),
            LONG_PAGE_HEADER_SIZE
        );
        let header = PageHeader::decode(page.first_chunk().unwrap());
        assert_eq!(header.info, FIRST_IS_CONTRECORD | LONG_HEADER);
        assert_eq!((header.page_address, header.remaining_length, header.tli), (start, 99, 3));
        let long = LongPart::decode(page[24..].first_chunk().unwrap());
        assert_eq!(long.system_identifier, 7);
        assert_eq!(header.encode(), page[..24]);

        let record = RecordHeader { tot_len: 24, xid: 1, prev: Lsn(2), info: 3, rmid: 4, crc: 5 };
        assert_eq!(RecordHeader::decode(&record.encode()), record);
    }
}
