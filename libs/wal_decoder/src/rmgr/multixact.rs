//! Multixacts: sets of transactions that hold one row (`multixact.h`).

use types::{Oid, PgVersion, TransactionId};

use super::{read_main_data, slru_page, unknown_opcode};
use crate::error::DecodeError;
use crate::record::DecodedRecord;

pub const XLOG_MULTIXACT_ZERO_OFF_PAGE: u8 = 0x00;
pub const XLOG_MULTIXACT_ZERO_MEM_PAGE: u8 = 0x10;
pub const XLOG_MULTIXACT_CREATE_ID: u8 = 0x20;
pub const XLOG_MULTIXACT_TRUNCATE_ID: u8 = 0x30;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MultiXactRecord {
    ZeroOffsetsPage { page: u32 },
    ZeroMembersPage { page: u32 },
    Create(MultiXactCreate),
    Truncate(MultiXactTruncate),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiXactCreate {
    pub multixact: u32,
    /// Number of its first member in the members SLRU.
    pub offset: u32,
    pub members: Vec<MultiXactMember>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MultiXactMember {
    pub xid: TransactionId,
    /// `MultiXactStatus`: the kind of lock, 0 to 5.
    pub status: u32,
}

/// Ranges that go, from `start` up to but not including `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MultiXactTruncate {
    pub oldest_multi_db: Oid,
    pub start_multixact: u32,
    /// Also the oldest multixact that is left.
    pub end_multixact: u32,
    pub start_member: u32,
    pub end_member: u32,
}

pub fn decode(record: &DecodedRecord, version: PgVersion) -> Result<MultiXactRecord, DecodeError> {
    const WHAT: &str = "a multixact record";
    read_main_data(record, |reader, opcode| match opcode {
        XLOG_MULTIXACT_ZERO_OFF_PAGE => {
            Ok(MultiXactRecord::ZeroOffsetsPage { page: slru_page(reader, version)? })
        }
        XLOG_MULTIXACT_ZERO_MEM_PAGE => {
            Ok(MultiXactRecord::ZeroMembersPage { page: slru_page(reader, version)? })
        }
        XLOG_MULTIXACT_CREATE_ID => {
            let (multixact, offset) = (reader.u32(WHAT)?, reader.u32(WHAT)?);
            let count = reader.count(8, "the number of members of a multixact")?;
            let members = reader.list(count, |reader| {
                Ok(MultiXactMember { xid: reader.u32(WHAT)?, status: reader.u32(WHAT)? })
            })?;
            Ok(MultiXactRecord::Create(MultiXactCreate { multixact, offset, members }))
        }
        XLOG_MULTIXACT_TRUNCATE_ID => Ok(MultiXactRecord::Truncate(MultiXactTruncate {
            oldest_multi_db: reader.u32(WHAT)?,
            start_multixact: reader.u32(WHAT)?,
            end_multixact: reader.u32(WHAT)?,
            start_member: reader.u32(WHAT)?,
            end_member: reader.u32(WHAT)?,
        })),
        opcode => unknown_opcode("the opcode of a multixact record", opcode),
    })
}
