//! Logical messages (`message.h`): bytes for whoever decodes WAL. Redo does nothing with them.
//!
//! ```text
//!  database oid | transactional, 3 of padding | prefix length u64, zero included | message length u64 | prefix, zero | message
//! ```

use bytes::Bytes;
use types::{Oid, PgVersion};

use super::{read_main_data, unknown_opcode};
use crate::error::{DecodeError, Malformation};
use crate::record::DecodedRecord;

pub const XLOG_LOGICAL_MESSAGE: u8 = 0x00;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogicalMessage {
    /// 0 in messages that no session has written.
    pub database: Oid,
    pub transactional: bool,
    /// Without the zero at its end.
    pub prefix: Bytes,
    pub message: Bytes,
}

/// The same in both versions.
pub fn decode(record: &DecodedRecord, _version: PgVersion) -> Result<LogicalMessage, DecodeError> {
    const WHAT: &str = "a logical message";
    read_main_data(record, |reader, opcode| match opcode {
        XLOG_LOGICAL_MESSAGE => {
            let database = reader.u32(WHAT)?;
            let transactional = reader.bool_padded(4, WHAT)?;
            let mut length = || {
                let length = reader.i64(WHAT)?;
                usize::try_from(length).map_err(|_| Malformation::Field { what: WHAT, got: length as u64 })
            };
            let (prefix, message) = (length()?, length()?);
            let prefix = reader.bytes(prefix, WHAT)?;
            let message = reader.bytes(message, WHAT)?;
            let end = prefix.iter().position(|byte| *byte == 0).unwrap_or(prefix.len());
            Ok(LogicalMessage { database, transactional, prefix: prefix.slice(..end), message })
        }
        opcode => unknown_opcode("the opcode of a logical message", opcode),
    })
}

#[cfg(test)]
mod tests {
    use pg_format::wal::RecordHeader;
    use types::Lsn;

    use super::*;

    fn record(main_data: Vec<u8>) -> DecodedRecord {
        let rmid = pg_format::rmgr::LOGICALMSG;
        DecodedRecord {
            start_lsn: Lsn(0x1000),
            end_lsn: Lsn(0x1100),
            header: RecordHeader { tot_len: 0, xid: 0, prev: Lsn(0), info: 0, rmid, crc: 0 },
            origin: 0,
            toplevel_xid: None,
            main_data: main_data.into(),
            blocks: Vec::new(),
        }
    }

    fn message(prefix_length: u64, message_length: u64) -> Vec<u8> {
        let mut bytes = [5u32.to_le_bytes(), [1, 0, 0, 0]].concat();
        bytes.extend(prefix_length.to_le_bytes());
        bytes.extend(message_length.to_le_bytes());
        bytes.extend(b"prefix\0message");
        bytes
    }

    #[test]
    fn lengths_are_believed_only_as_far_as_there_are_bytes() {
        let decoded = decode(&record(message(7, 7)), PgVersion::V15).unwrap();
        let (prefix, text) = (Bytes::from_static(b"prefix"), Bytes::from_static(b"message"));
        assert_eq!(decoded, LogicalMessage { database: 5, transactional: true, prefix, message: text });
        for (prefix, text) in [(7, 8), (15, 0), (u64::MAX, 7), (7, u64::MAX), (1 << 62, 1 << 62)] {
            let error = decode(&record(message(prefix, text)), PgVersion::V17).unwrap_err();
            assert_eq!(error.lsn, Lsn(0x1000));
        }
    }
}
