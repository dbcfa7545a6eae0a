//! Where rows of a catalog went when it was rewritten (`rewriteheap.h`): files in `pg_logical/mappings`, which logical
//! decoding of older WAL needs.
//!
//! ```text
//!  xid | database, relation oid | 4 of padding | offset in the file u64 | rows u32 | 4 of padding | lsn | rows of 36 bytes
//! ```

use bytes::Bytes;
use types::{Lsn, Oid, PgVersion, TransactionId};

use super::read_main_data;
use crate::error::{DecodeError, Malformation};
use crate::record::DecodedRecord;

pub const XLOG_HEAP2_REWRITE: u8 = 0x00;

/// A piece of such a file. What was behind its offset before, is not part of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewritePiece {
    pub mapped_xid: TransactionId,
    pub database: Oid,
    pub relation: Oid,
    pub start_lsn: Lsn,
    /// Of the transaction that rewrote.
    pub xid: TransactionId,
    pub offset: u64,
    pub rows: Bytes,
}

/// None if the record, of resource manager Heap2, is another. The same in both versions.
pub fn decode(record: &DecodedRecord, _version: PgVersion) -> Result<Option<RewritePiece>, DecodeError> {
    const WHAT: &str = "a rewrite of a catalog";
    const ROW: usize = 36;
    if record.opcode() != XLOG_HEAP2_REWRITE {
        return Ok(None);
    }
    read_main_data(record, |reader, _| {
        let mapped_xid = reader.u32(WHAT)?;
        let (database, relation) = (reader.u32(WHAT)?, reader.u32(WHAT)?);
        reader.skip(4, WHAT)?;
        let offset = reader.i64(WHAT)?;
        let offset =
            u64::try_from(offset).map_err(|_| Malformation::Field { what: WHAT, got: offset as u64 })?;
        let count = reader.u32(WHAT)? as usize;
        reader.skip(4, WHAT)?;
        let start_lsn = reader.lsn(WHAT)?;
        let rows = reader.bytes(count.saturating_mul(ROW), WHAT)?;
        let xid = record.header.xid;
        Ok(Some(RewritePiece { mapped_xid, database, relation, start_lsn, xid, offset, rows }))
    })
}

impl RewritePiece {
    /// Below the data directory (`LOGICAL_REWRITE_FORMAT`).
    pub fn path(&self) -> String {
        let RewritePiece { mapped_xid, database, relation, start_lsn, xid, .. } = self;
        let (high, low) = (start_lsn.0 >> 32, start_lsn.0 as u32);
        format!("pg_logical/mappings/map-{database:x}-{relation:x}-{high:X}_{low:X}-{mapped_xid:x}-{xid:x}")
    }
}
