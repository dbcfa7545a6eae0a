//! Sequences (`sequence.h`): a record holds the sequence's one tuple, and redo makes its page anew.

use bytes::Bytes;
use types::{Fork, PgVersion, RelTag};

use super::{read_main_data, unknown_opcode};
use crate::error::DecodeError;
use crate::record::DecodedRecord;

pub const XLOG_SEQ_LOG: u8 = 0x00;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeqLog {
    pub rel: RelTag,
    pub tuple: Bytes,
}

/// The same in both versions.
pub fn decode(record: &DecodedRecord, _version: PgVersion) -> Result<SeqLog, DecodeError> {
    read_main_data(record, |reader, opcode| match opcode {
        XLOG_SEQ_LOG => {
            let rel = reader.rel(Fork::Main, "a sequence")?;
            let tuple = reader.bytes(reader.remaining(), "a sequence's tuple")?;
            Ok(SeqLog { rel, tuple })
        }
        opcode => unknown_opcode("the opcode of a sequence record", opcode),
    })
}
