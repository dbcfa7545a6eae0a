//! Files of pg_twophase: a prepared transaction's state as its PREPARE record holds it, then the CRC-32C of it.

use types::{PgVersion, TransactionId};

use crate::field::u32_at;
use crate::{FormatError, crc32c};

const CRC_SIZE: usize = 4;

/// Name of the file. From version 17 on it carries the epoch.
pub fn file_name(version: PgVersion, epoch: u32, xid: TransactionId) -> String {
    match version {
        PgVersion::V15 => format!("{xid:08X}"),
        PgVersion::V17 => format!("{epoch:08X}{xid:08X}"),
    }
}

/// The file's bytes for a state, which is the main data of the PREPARE record.
pub fn encode_file(state: &[u8]) -> Vec<u8> {
    let mut file = Vec::with_capacity(state.len() + CRC_SIZE);
    file.extend(state);
    file.extend(crc32c(state).to_le_bytes());
    file
}

/// The state inside a file.
pub fn decode_file(file: &[u8]) -> Result<&[u8], FormatError> {
    let at = file.len().checked_sub(CRC_SIZE).ok_or(FormatError::Length {
        what: "two-phase file",
        expected: CRC_SIZE,
        got: file.len(),
    })?;
    let (computed, found) = (crc32c(&file[..at]), u32_at(file, at));
    if computed == found {
        Ok(&file[..at])
    } else {
        Err(FormatError::Checksum { what: "two-phase file", computed, found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_checked() {
        let mut file = encode_file(b"state");
        assert_eq!(decode_file(&file), Ok(&b"state"[..]));
        file[0] ^= 1;
        assert!(decode_file(&file).is_err());
        assert!(decode_file(b"abc").is_err());
        assert_eq!(file_name(PgVersion::V15, 0, 0x2e4), "000002E4");
    }
}
