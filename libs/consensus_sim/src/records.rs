//! WAL of the simulated world: records whose ends and truth can be told from the bytes alone.
//!
//! ```text
//!  length u16 of all of it | crc32c u32 of (LSN, payload) | payload
//! ```
//! The LSN is in the checksum as it is in PostgreSQL's page headers and links: bytes of another place do not pass.

use types::Lsn;

const HEADER: usize = 6;

pub fn encode(lsn: Lsn, payload: &[u8]) -> Vec<u8> {
    let length = (HEADER + payload.len()) as u16;
    let mut record = Vec::with_capacity(usize::from(length));
    record.extend(length.to_le_bytes());
    record.extend(checksum(lsn, payload).to_le_bytes());
    record.extend(payload);
    record
}

fn checksum(lsn: Lsn, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&lsn.0.to_le_bytes()), payload)
}

/// Where the last whole record ends in `wal`, whose first byte is at `base`. `from` is where a record begins.
pub fn last_end(wal: &[u8], base: Lsn, from: usize) -> usize {
    let mut end = from;
    while let Some(length) = whole_record(&wal[end..], base + end as u64) {
        end += length;
    }
    end
}

fn whole_record(bytes: &[u8], lsn: Lsn) -> Option<usize> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::from(u16::from_le_bytes(*length));
    let payload = rest.get(..length.checked_sub(HEADER)?)?;
    (checksum(lsn, payload) == u32::from_le_bytes(*crc)).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_or_misplaced_record_ends_the_wal() {
        let base = Lsn(0x100);
        let mut wal = encode(base, b"one");
        let first = wal.len();
        wal.extend(encode(base + first as u64, b"the second"));
        assert_eq!(last_end(&wal, base, 0), wal.len());
        assert_eq!(last_end(&wal[..wal.len() - 1], base, 0), first);
        assert_eq!(last_end(&wal, base + 8, 0), 0, "bytes of another place");
        wal[first + 9] ^= 1;
        assert_eq!(last_end(&wal, base, 0), first);
        assert_eq!(last_end(&[0; 40], base, 0), 0, "zeros are no records");
    }
}
