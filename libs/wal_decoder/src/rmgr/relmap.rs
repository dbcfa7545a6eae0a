//! New contents of a `pg_filenode.map` (`relmapper.h`).

use bytes::Bytes;
use types::{Oid, PgVersion};

use super::{read_main_data, unknown_opcode};
use crate::error::DecodeError;
use crate::record::DecodedRecord;

pub const XLOG_RELMAP_UPDATE: u8 = 0x00;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelmapUpdate {
    /// 0 for the map of the shared catalogs.
    pub db: Oid,
    pub spc: Oid,
    /// The whole file, checksum included.
    pub map: Bytes,
}

/// Framed alike in both versions; the map itself is opaque here.
pub fn decode(record: &DecodedRecord, _version: PgVersion) -> Result<RelmapUpdate, DecodeError> {
    const WHAT: &str = "a relation map";
    read_main_data(record, |reader, opcode| match opcode {
        XLOG_RELMAP_UPDATE => {
            let (db, spc) = (reader.u32(WHAT)?, reader.u32(WHAT)?);
            let length = reader.count(1, "the length of a relation map")?;
            Ok(RelmapUpdate { db, spc, map: reader.bytes(length, WHAT)? })
        }
        opcode => unknown_opcode("the opcode of a relation map record", opcode),
    })
}
