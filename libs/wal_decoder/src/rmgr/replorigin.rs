//! Replication origins (`origin.h`): how far a subscription has got, where no transaction says it.

use types::{Lsn, PgVersion};

use super::{read_main_data, unknown_opcode};
use crate::error::DecodeError;
use crate::record::DecodedRecord;

pub const XLOG_REPLORIGIN_SET: u8 = 0x00;
pub const XLOG_REPLORIGIN_DROP: u8 = 0x10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicationOriginRecord {
    Set {
        origin: u16,
        /// In the WAL of the server that is replicated from.
        remote_lsn: Lsn,
        /// It may go back.
        force: bool,
    },
    Drop {
        origin: u16,
    },
}

/// The same in both versions.
pub fn decode(record: &DecodedRecord, _version: PgVersion) -> Result<ReplicationOriginRecord, DecodeError> {
    const WHAT: &str = "a replication origin";
    read_main_data(record, |reader, opcode| match opcode {
        XLOG_REPLORIGIN_SET => {
            let remote_lsn = reader.lsn(WHAT)?;
            let origin = reader.u16(WHAT)?;
            Ok(ReplicationOriginRecord::Set { origin, remote_lsn, force: reader.u8(WHAT)? != 0 })
        }
        XLOG_REPLORIGIN_DROP => Ok(ReplicationOriginRecord::Drop { origin: reader.u16(WHAT)? }),
        opcode => unknown_opcode("the opcode of a replication origin record", opcode),
    })
}
