//! Tablespaces that appear or go (`tablespace.h`).

use types::{Oid, PgVersion};

use super::{read_main_data, unknown_opcode};
use crate::error::DecodeError;
use crate::record::DecodedRecord;

pub const XLOG_TBLSPC_CREATE: u8 = 0x00;
pub const XLOG_TBLSPC_DROP: u8 = 0x10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TblspcRecord {
    Create {
        spc: Oid,
        /// As CREATE TABLESPACE named it; empty for one inside the data directory.
        location: String,
    },
    Drop {
        spc: Oid,
    },
}

/// The same in both versions.
pub fn decode(record: &DecodedRecord, _version: PgVersion) -> Result<TblspcRecord, DecodeError> {
    const WHAT: &str = "a tablespace record";
    read_main_data(record, |reader, opcode| match opcode {
        XLOG_TBLSPC_CREATE => {
            Ok(TblspcRecord::Create { spc: reader.u32(WHAT)?, location: reader.c_string(WHAT)? })
        }
        XLOG_TBLSPC_DROP => Ok(TblspcRecord::Drop { spc: reader.u32(WHAT)? }),
        opcode => unknown_opcode("the opcode of a tablespace record", opcode),
    })
}
