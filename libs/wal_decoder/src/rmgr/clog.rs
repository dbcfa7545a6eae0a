//! Pages of the commit log that appear or go (`clog.h`).

use types::{Oid, PgVersion, TransactionId};

use super::{read_main_data, slru_page, unknown_opcode};
use crate::error::DecodeError;
use crate::record::DecodedRecord;

pub const CLOG_ZEROPAGE: u8 = 0x00;
pub const CLOG_TRUNCATE: u8 = 0x10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClogRecord {
    /// The page comes into being, all zero.
    ZeroPage { page: u32 },
    /// Segments that lie wholly before `page` go.
    Truncate { page: u32, oldest_xid: TransactionId, oldest_xid_db: Oid },
}

pub fn decode(record: &DecodedRecord, version: PgVersion) -> Result<ClogRecord, DecodeError> {
    const WHAT: &str = "a commit log record";
    read_main_data(record, |reader, opcode| match opcode {
        CLOG_ZEROPAGE => Ok(ClogRecord::ZeroPage { page: slru_page(reader, version)? }),
        CLOG_TRUNCATE => Ok(ClogRecord::Truncate {
            page: slru_page(reader, version)?,
            oldest_xid: reader.u32(WHAT)?,
            oldest_xid_db: reader.u32(WHAT)?,
        }),
        opcode => unknown_opcode("the opcode of a commit log record", opcode),
    })
}
