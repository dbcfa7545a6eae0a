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
