//! Pages of commit timestamps that appear or go (`commit_ts.h`).

use types::{PgVersion, TransactionId};

use super::{read_main_data, slru_page, unknown_opcode};
use crate::error::DecodeError;
use crate::record::DecodedRecord;

pub const COMMIT_TS_ZEROPAGE: u8 = 0x00;
pub const COMMIT_TS_TRUNCATE: u8 = 0x10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitTsRecord {
    ZeroPage { page: u32 },
    Truncate { page: u32, oldest_xid: TransactionId },
}

pub fn decode(record: &DecodedRecord, version: PgVersion) -> Result<CommitTsRecord, DecodeError> {
    const WHAT: &str = "a commit timestamp record";
    read_main_data(record, |reader, opcode| match opcode {
        COMMIT_TS_ZEROPAGE => Ok(CommitTsRecord::ZeroPage { page: slru_page(reader, version)? }),
        COMMIT_TS_TRUNCATE => {
            Ok(CommitTsRecord::Truncate { page: slru_page(reader, version)?, oldest_xid: reader.u32(WHAT)? })
        }
        opcode => unknown_opcode("the opcode of a commit timestamp record", opcode),
    })
}
