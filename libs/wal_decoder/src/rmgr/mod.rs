//! What records of each resource manager say, as far as they change more than the pages they register.
//!
//! Each `decode` takes a record whose `header.rmid` is that resource manager's and returns the typed
//! contents. The low four bits of `info` belong to WAL itself and are masked before an opcode is compared.
//! Records whose contents nobody needs to know are told apart, not read. Few are not the same in both versions:
//! the numbers of SLRU pages, and a checkpoint. What records do to the pages they register is `page_redo`'s.

pub mod clog;
pub mod commit_ts;
pub mod dbase;
pub mod logicalmsg;
pub mod multixact;
pub mod relmap;
pub mod replorigin;
pub mod rewrite;
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

/// The number of an SLRU's page: 32 bits up to version 16, 64 from 17 on, where no page that can be has a
/// number that does not fit 32.
fn slru_page(reader: &mut Reader, version: PgVersion) -> Result<u32, Malformation> {
    const WHAT: &str = "the number of an SLRU's page";
    match version {
        PgVersion::V15 => reader.u32(WHAT),
        PgVersion::V17 => {
            let page = reader.i64(WHAT)?;
            u32::try_from(page).map_err(|_| Malformation::Field { what: WHAT, got: page as u64 })
        }
    }
}

fn unknown_opcode<T>(what: &'static str, opcode: u8) -> Result<T, Malformation> {
    Err(Malformation::Field { what, got: opcode.into() })
}
