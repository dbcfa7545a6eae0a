//! `pg_replslot/<name>/state`: as much of a replication slot as tells which WAL it needs.
//!
//! ```text
//!  magic, CRC-32C of all behind it, version, length u32 | ReplicationSlotPersistentData:
//!  name 64 | database oid | persistency u32 | xmin, catalog xmin u32 | restart LSN u64 | …
//! ```

use types::{Lsn, Oid};

use crate::field::{u32_at, u64_at};
use crate::{FormatError, crc32c};

const WHAT: &str = "the state of a replication slot";
/// `SLOT_MAGIC`, which stands in slot.c.
const MAGIC: u32 = 0x0105_1CA1;
const CHECKSUMMED_FROM: usize = 8;
const DATA: usize = 16;
const DATABASE: usize = DATA + 64;
const RESTART_LSN: usize = DATA + 80;
const SHORTEST: usize = RESTART_LSN + 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotState {
    /// 0 for a physical slot.
    pub database: Oid,
    /// WAL from there on is needed.
    pub restart_lsn: Lsn,
}

pub fn decode(bytes: &[u8]) -> Result<SlotState, FormatError> {
    if bytes.len() < SHORTEST {
        return Err(FormatError::Length { what: WHAT, expected: SHORTEST, got: bytes.len() });
    }
    if u32_at(bytes, 0) != MAGIC {
        return Err(FormatError::value("the magic number of a replication slot", MAGIC, u32_at(bytes, 0)));
    }
    let (computed, found) = (crc32c(&bytes[CHECKSUMMED_FROM..]), u32_at(bytes, 4));
    if computed != found {
        return Err(FormatError::Checksum { what: WHAT, computed, found });
    }
    Ok(SlotState { database: u32_at(bytes, DATABASE), restart_lsn: Lsn(u64_at(bytes, RESTART_LSN)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> Vec<u8> {
        let mut bytes = vec![0; 200];
        bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[DATABASE..DATABASE + 4].copy_from_slice(&5u32.to_le_bytes());
        bytes[RESTART_LSN..RESTART_LSN + 8].copy_from_slice(&0x16B_9188u64.to_le_bytes());
        let crc = crc32c(&bytes[CHECKSUMMED_FROM..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    #[test]
    fn a_slot_tells_which_wal_it_needs() {
        assert_eq!(decode(&state()), Ok(SlotState { database: 5, restart_lsn: Lsn(0x16B_9188) }));
    }

    #[test]
    fn what_is_no_slot_is_an_error() {
        let mut torn = state();
        torn[100] ^= 1;
        assert!(matches!(decode(&torn), Err(FormatError::Checksum { .. })));
        assert!(matches!(decode(&[0; 200]), Err(FormatError::Value { .. })));
        for end in 0..SHORTEST {
            assert!(decode(&state()[..end]).is_err());
        }
    }
}
