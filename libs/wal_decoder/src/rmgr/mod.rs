//! What records of each resource manager say, as far as they change more than the pages they register.
//!
//! Each `decode` takes a record whose `header.rmid` is that resource manager's and returns the typed
//! contents. The low four bits of `info` belong to WAL itself and are masked before an opcode is compared.
//! Records whose contents nobody needs to know are told apart, not read.

pub mod clog;
pub mod commit_ts;
pub mod dbase;
pub mod heap;
pub mod heap2;
pub mod multixact;
pub mod relmap;
pub mod seq;
pub mod smgr;
pub mod standby;
pub mod tblspc;
pub mod xact;
pub mod xlog;

use types::PgVersion;

use crate::error::{DecodeError, Malformation};
use crate::reader::Reader;
use crate::record::DecodedRecord;

/// Runs `read` on the record's main data; what goes wrong is told with the record's position.
fn read_main_data<T>(
    record: &DecodedRecord,
    read: impl FnOnce(&mut Reader, u8) -> Result<T, Malformation>,
) -> Result<T, DecodeError> {
    let mut reader = Reader::new(record.main_data.clone());
    read(&mut reader, record.opcode()).map_err(|what| what.at(record.start_lsn))
}

/// For contents that are written down here for version 15 alone.
fn only_v15(record: &DecodedRecord, version: PgVersion, what: &'static str) -> Result<(), DecodeError> {
    match version {
        PgVersion::V15 => Ok(()),
        PgVersion::V17 => Err(Malformation::NotSupportedYet { what, version }.at(record.start_lsn)),
    }
}

fn unknown_opcode<T>(what: &'static str, opcode: u8) -> Result<T, Malformation> {
    Err(Malformation::Field { what, got: opcode.into() })
}
