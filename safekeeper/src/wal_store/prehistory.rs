//! Bytes of a timeline's first segment before the timeline's start. Equal on all safekeepers, by this rule:
//!
//! 1. A timeline with an ancestor has the ancestor's bytes, copied or fetched when it is made.
//! 2. A timeline without one has what is made here: every page up to the start has a valid header that says
//!    "the rest of a record from the page before", and zeros as that record's bytes; the lengths are such
//!    that the record ends at the start. So `pg_waldump` given the segment alone skips to the first record.
//!
//! ```text
//!  segment begins                                 start (X)
//!  | long header | zeros … | header | zeros … | header | zeros | first record of the timeline
//!  | rem = c+b+a           | rem = b+a        | rem = a
//! ```

use pg_format::wal::{FIRST_IS_CONTRECORD, WalIdentity, page_header_size};
use types::{BLCKSZ, Lsn};

/// Rule 2: the bytes from the beginning of the segment that holds `start`, up to `start`.
pub fn synthesise(identity: &WalIdentity, start: Lsn) -> Vec<u8> {
    let length = start.segment_offset(identity.segment_size.bytes()) as usize;
    let segment_start = Lsn(start.0 - length as u64);
    let mut bytes = vec![0; length];
    let mut remaining = 0;
    // Backwards, because a page's remaining length adds up from the pages behind it.
    for offset in (0..length).step_by(BLCKSZ).rev() {
        let page = &mut bytes[offset..length.min(offset + BLCKSZ)];
        let page_start = segment_start + offset as u64;
        remaining += page.len().saturating_sub(page_header_size(page_start, identity.segment_size));
        if page.len() >= page_header_size(page_start, identity.segment_size) {
            identity.write_page_header(page, page_start, FIRST_IS_CONTRECORD, remaining as u32);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use pg_format::wal::PageHeader;
    use types::{PgVersion, WalSegmentSize};

    use super::*;

    #[test]
    fn lengths_lead_to_the_start() {
        let segment_size = WalSegmentSize::DEFAULT;
        let identity = WalIdentity { version: PgVersion::V15, system_identifier: 1, segment_size, tli: 1 };
        let segment_start = Lsn(3 * segment_size.bytes());
        assert!(synthesise(&identity, segment_start).is_empty());
        for offset in [48, 8184, 8192, 8192 + 32, 3 * 8192, 3 * 8192 + 1000] {
            let bytes = synthesise(&identity, segment_start + offset);
            assert_eq!(bytes.len() as u64, offset);
            // Walk as a reader of WAL does: each page takes what fits of the remaining length.
            let mut end = 0;
            for (number, page) in bytes.chunks(BLCKSZ).enumerate() {
                let header = PageHeader::decode(page.first_chunk().unwrap());
                let size = if number == 0 { 40 } else { 24 };
                assert_eq!(header.page_address, segment_start + (number * BLCKSZ) as u64);
                assert!(page[size..].iter().all(|byte| *byte == 0));
                let here = (header.remaining_length as usize).min(BLCKSZ - size);
                end = number * BLCKSZ + size + here;
            }
            assert_eq!(end as u64, offset);
        }
    }
}
