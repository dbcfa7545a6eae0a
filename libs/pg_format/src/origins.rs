//! `pg_logical/replorigin_checkpoint`: how far the subscriptions of a server have got.
//!
//! ```text
//!  magic u32 | per origin: id u16, 6 of padding, LSN u64 | CRC-32C of all before
//! ```

use types::Lsn;

use crate::field::{u16_at, u32_at, u64_at};
use crate::{FormatError, crc32c};

const WHAT: &str = "replorigin_checkpoint";
/// `REPLICATION_STATE_MAGIC`, which stands in origin.c.
const MAGIC: u32 = 0x1257_DADE;
const ENTRY: usize = 16;

/// How far one origin is, in the WAL of the server that is replicated from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginProgress {
    pub origin: u16,
    pub remote_lsn: Lsn,
}

pub fn encode(origins: &[OriginProgress]) -> Vec<u8> {
    let mut bytes = MAGIC.to_le_bytes().to_vec();
    for OriginProgress { origin, remote_lsn } in origins {
        bytes.extend(origin.to_le_bytes());
        bytes.extend([0; 6]);
        bytes.extend(remote_lsn.0.to_le_bytes());
    }
    bytes.extend(crc32c(&bytes).to_le_bytes());
    bytes
}

pub fn decode(bytes: &[u8]) -> Result<Vec<OriginProgress>, FormatError> {
    if bytes.len() < 8 || !(bytes.len() - 8).is_multiple_of(ENTRY) {
        return Err(FormatError::Length { what: WHAT, expected: 8, got: bytes.len() });
    }
    let (body, checksum) = bytes.split_at(bytes.len() - 4);
    let (computed, found) = (crc32c(body), u32_at(checksum, 0));
    if computed != found {
        return Err(FormatError::Checksum { what: WHAT, computed, found });
    }
    if u32_at(body, 0) != MAGIC {
        return Err(FormatError::value("the magic number of replorigin_checkpoint", MAGIC, u32_at(body, 0)));
    }
    let entries = body[4..].chunks_exact(ENTRY);
    Ok(entries
        .map(|entry| OriginProgress { origin: u16_at(entry, 0), remote_lsn: Lsn(u64_at(entry, 8)) })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_come_back() {
        let origins = [
            OriginProgress { origin: 1, remote_lsn: Lsn(0x16B_9188) },
            OriginProgress { origin: 7, remote_lsn: Lsn(0x2_0000_0000) },
        ];
        for origins in [&origins[..], &origins[..1], &[]] {
            let bytes = encode(origins);
            assert_eq!(decode(&bytes).as_deref(), Ok(origins));
            for end in 0..bytes.len() {
                assert!(decode(&bytes[..end]).is_err());
            }
        }
        let mut torn = encode(&origins);
        torn[12] ^= 1;
        assert!(matches!(decode(&torn), Err(FormatError::Checksum { .. })));
    }
}
