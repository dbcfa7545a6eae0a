//! Databases that appear or go (`dbcommands_xlog.h`).

use types::{Oid, PgVersion};

use super::{read_main_data, unknown_opcode};
use crate::error::DecodeError;
use crate::record::DecodedRecord;

pub const XLOG_DBASE_CREATE_FILE_COPY: u8 = 0x00;
pub const XLOG_DBASE_CREATE_WAL_LOG: u8 = 0x10;
pub const XLOG_DBASE_DROP: u8 = 0x20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DbaseRecord {
    /// All files of one database directory are copied to another.
    CreateFileCopy { db: Oid, spc: Oid, source_db: Oid, source_spc: Oid },
    /// The directory comes into being; each block is logged by itself.
    CreateWalLog { db: Oid, spc: Oid },
    /// The database's directories in these tablespaces go.
    Drop { db: Oid, spcs: Vec<Oid> },
}

/// The same in both versions.
pub fn decode(record: &DecodedRecord, _version: PgVersion) -> Result<DbaseRecord, DecodeError> {
    const WHAT: &str = "a database record";
    read_main_data(record, |reader, opcode| match opcode {
        XLOG_DBASE_CREATE_FILE_COPY => Ok(DbaseRecord::CreateFileCopy {
            db: reader.u32(WHAT)?,
            spc: reader.u32(WHAT)?,
            source_db: reader.u32(WHAT)?,
            source_spc: reader.u32(WHAT)?,
        }),
        XLOG_DBASE_CREATE_WAL_LOG => {
            Ok(DbaseRecord::CreateWalLog { db: reader.u32(WHAT)?, spc: reader.u32(WHAT)? })
        }
        XLOG_DBASE_DROP => {
            let db = reader.u32(WHAT)?;
            let count = reader.count(4, "the number of a database's tablespaces")?;
            Ok(DbaseRecord::Drop { db, spcs: reader.u32_list(count, WHAT)? })
        }
        opcode => unknown_opcode("the opcode of a database record", opcode),
    })
}
