//! What standbys are told of running transactions (`standbydefs.h`).

use types::{PgVersion, TransactionId};

use super::{read_main_data, unknown_opcode};
use crate::error::{DecodeError, Malformation};
use crate::reader::Reader;
use crate::record::DecodedRecord;

pub const XLOG_STANDBY_LOCK: u8 = 0x00;
pub const XLOG_RUNNING_XACTS: u8 = 0x10;
pub const XLOG_INVALIDATIONS: u8 = 0x20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StandbyRecord {
    Lock,
    RunningXacts(RunningXacts),
    Invalidations,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningXacts {
    pub next_xid: TransactionId,
    pub oldest_running_xid: TransactionId,
    pub latest_completed_xid: TransactionId,
    /// Subtransactions are missing from `subxids`.
    pub subxid_overflow: bool,
    pub xids: Vec<TransactionId>,
    pub subxids: Vec<TransactionId>,
}

/// The same in both versions.
pub fn decode(record: &DecodedRecord, _version: PgVersion) -> Result<StandbyRecord, DecodeError> {
    read_main_data(record, |reader, opcode| match opcode {
        XLOG_STANDBY_LOCK => Ok(StandbyRecord::Lock),
        XLOG_RUNNING_XACTS => running_xacts(reader).map(StandbyRecord::RunningXacts),
        XLOG_INVALIDATIONS => Ok(StandbyRecord::Invalidations),
        opcode => unknown_opcode("the opcode of a standby record", opcode),
    })
}

fn running_xacts(reader: &mut Reader) -> Result<RunningXacts, Malformation> {
    const WHAT: &str = "the list of running transactions";
    let xid_count = reader.count(4, WHAT)?;
    let subxid_count = reader.count(4, WHAT)?;
    let subxid_overflow = reader.bool_padded(4, WHAT)?;
    Ok(RunningXacts {
        subxid_overflow,
        next_xid: reader.u32(WHAT)?,
        oldest_running_xid: reader.u32(WHAT)?,
        latest_completed_xid: reader.u32(WHAT)?,
        xids: reader.u32_list(xid_count, WHAT)?,
        subxids: reader.u32_list(subxid_count, WHAT)?,
    })
}
