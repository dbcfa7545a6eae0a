//! Records of WAL itself (`pg_control.h`, `xlog_internal.h`).

use pg_format::CheckPoint;
use types::{Lsn, PgVersion};

use super::{read_main_data, unknown_opcode};
use crate::error::{DecodeError, Malformation};
use crate::reader::Reader;
use crate::record::DecodedRecord;

pub const XLOG_CHECKPOINT_SHUTDOWN: u8 = 0x00;
pub const XLOG_CHECKPOINT_ONLINE: u8 = 0x10;
pub const XLOG_NOOP: u8 = 0x20;
pub const XLOG_NEXTOID: u8 = 0x30;
pub const XLOG_SWITCH: u8 = 0x40;
pub const XLOG_BACKUP_END: u8 = 0x50;
pub const XLOG_PARAMETER_CHANGE: u8 = 0x60;
pub const XLOG_RESTORE_POINT: u8 = 0x70;
pub const XLOG_FPW_CHANGE: u8 = 0x80;
pub const XLOG_END_OF_RECOVERY: u8 = 0x90;
pub const XLOG_FPI_FOR_HINT: u8 = 0xa0;
pub const XLOG_FPI: u8 = 0xb0;
pub const XLOG_OVERWRITE_CONTRECORD: u8 = 0xd0;
/// From version 17 on: where an online checkpoint's redo begins.
pub const XLOG_CHECKPOINT_REDO: u8 = 0xe0;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XlogRecord {
    CheckpointShutdown(CheckPoint),
    CheckpointOnline(CheckPoint),
    /// OIDs below this one may be in use.
    NextOid(u32),
    Switch,
    ParameterChange(ParameterChange),
    FullPageWritesChange(bool),
    EndOfRecovery(EndOfRecovery),
    /// The record that began here was never finished.
    OverwriteContrecord(Lsn),
    /// Page images of the registered blocks; also those for hint bits.
    FullPageImage,
    /// Backup ends, restore points, no-ops, redo points: they change nothing.
    Nothing,
}

/// Settings that a standby must match; kept in pg_control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterChange {
    pub max_connections: i32,
    pub max_worker_processes: i32,
    pub max_wal_senders: i32,
    pub max_prepared_xacts: i32,
    pub max_locks_per_xact: i32,
    pub wal_level: i32,
    pub wal_log_hints: bool,
    pub track_commit_timestamp: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndOfRecovery {
    /// Microseconds since 2000-01-01 UTC.
    pub time: i64,
    pub tli: u32,
    pub prev_tli: u32,
}

pub fn decode(record: &DecodedRecord, version: PgVersion) -> Result<XlogRecord, DecodeError> {
    read_main_data(record, |reader, opcode| match opcode {
        XLOG_CHECKPOINT_SHUTDOWN => Ok(XlogRecord::CheckpointShutdown(checkpoint(reader, version)?)),
        XLOG_CHECKPOINT_ONLINE => Ok(XlogRecord::CheckpointOnline(checkpoint(reader, version)?)),
        XLOG_NEXTOID => Ok(XlogRecord::NextOid(reader.u32("the next OID")?)),
        XLOG_SWITCH => Ok(XlogRecord::Switch),
        XLOG_PARAMETER_CHANGE => parameter_change(reader).map(XlogRecord::ParameterChange),
        XLOG_FPW_CHANGE => Ok(XlogRecord::FullPageWritesChange(reader.u8("full_page_writes")? != 0)),
        XLOG_END_OF_RECOVERY => end_of_recovery(reader).map(XlogRecord::EndOfRecovery),
        XLOG_OVERWRITE_CONTRECORD => {
            Ok(XlogRecord::OverwriteContrecord(reader.lsn("the overwritten record")?))
        }
        XLOG_FPI | XLOG_FPI_FOR_HINT => Ok(XlogRecord::FullPageImage),
        XLOG_NOOP | XLOG_BACKUP_END | XLOG_RESTORE_POINT => Ok(XlogRecord::Nothing),
        XLOG_CHECKPOINT_REDO if version >= PgVersion::V17 => Ok(XlogRecord::Nothing),
        opcode => unknown_opcode("the opcode of an XLOG record", opcode),
    })
}

fn checkpoint(reader: &mut Reader, version: PgVersion) -> Result<CheckPoint, Malformation> {
    let bytes = reader.array::<{ CheckPoint::SIZE }>("a checkpoint")?;
    Ok(CheckPoint::decode(&bytes, version))
}

fn parameter_change(reader: &mut Reader) -> Result<ParameterChange, Malformation> {
    let mut int = || reader.u32("a parameter change").map(|value| value as i32);
    Ok(ParameterChange {
        max_connections: int()?,
        max_worker_processes: int()?,
        max_wal_senders: int()?,
        max_prepared_xacts: int()?,
        max_locks_per_xact: int()?,
        wal_level: int()?,
        wal_log_hints: reader.u8("a parameter change")? != 0,
        track_commit_timestamp: reader.u8("a parameter change")? != 0,
    })
}

fn end_of_recovery(reader: &mut Reader) -> Result<EndOfRecovery, Malformation> {
    const WHAT: &str = "an end of recovery";
    Ok(EndOfRecovery { time: reader.i64(WHAT)?, tli: reader.u32(WHAT)?, prev_tli: reader.u32(WHAT)? })
}
