//! Files of relations that appear or shrink (`storage_xlog.h`).

use types::{Fork, PgVersion, RelTag};

use super::{read_main_data, unknown_opcode};
use crate::error::{DecodeError, Malformation};
use crate::record::DecodedRecord;

pub const XLOG_SMGR_CREATE: u8 = 0x10;
pub const XLOG_SMGR_TRUNCATE: u8 = 0x20;

const TRUNCATE_HEAP: u32 = 0x0001;
const TRUNCATE_VM: u32 = 0x0002;
const TRUNCATE_FSM: u32 = 0x0004;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmgrRecord {
    Create(RelTag),
    Truncate(SmgrTruncate),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmgrTruncate {
    /// The main fork.
    pub rel: RelTag,
    /// Blocks that the main fork keeps. The other forks keep what describes these.
    pub nblocks: u32,
    pub main: bool,
    pub vm: bool,
    pub fsm: bool,
}

/// The same in both versions.
pub fn decode(record: &DecodedRecord, _version: PgVersion) -> Result<SmgrRecord, DecodeError> {
    read_main_data(record, |reader, opcode| match opcode {
        XLOG_SMGR_CREATE => {
            let rel = reader.rel(Fork::Main, "a created relation")?;
            let number = reader.u32("a created relation's fork")?;
            let fork = u8::try_from(number).ok().and_then(Fork::from_number);
            let fork = fork.ok_or(Malformation::Field { what: "a fork", got: number.into() })?;
            Ok(SmgrRecord::Create(rel.with_fork(fork)))
        }
        XLOG_SMGR_TRUNCATE => {
            let nblocks = reader.u32("a truncation")?;
            let rel = reader.rel(Fork::Main, "a truncated relation")?;
            let flags = reader.u32("the flags of a truncation")?;
            let has = |flag| flags & flag != 0;
            let (main, vm, fsm) = (has(TRUNCATE_HEAP), has(TRUNCATE_VM), has(TRUNCATE_FSM));
            Ok(SmgrRecord::Truncate(SmgrTruncate { rel, nblocks, main, vm, fsm }))
        }
        opcode => unknown_opcode("the opcode of a storage record", opcode),
    })
}
