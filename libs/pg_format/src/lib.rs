//! PostgreSQL's bytes: how its WAL, its pages and its control file are laid out on disk.
//!
//! Pure: nothing here does I/O, reads a clock or keeps state. What differs between major versions sits
//! in [`v15`] and [`v17`]; everything else is the same in both. All integers are little-endian, as
//! PostgreSQL writes them on the machines that it is built for here.
//!
//! It will never decode WAL records (`wal_decoder`) or change pages (`page_redo`).

pub mod checkpoint;
pub mod control_file;
mod crc;
mod field;
pub mod origins;
pub mod page;
pub mod pglz;
pub mod rmgr;
pub mod slot;
pub mod start_wal;
pub mod two_phase;
pub mod v15;
pub mod v17;
pub mod version;
pub mod wal;

pub use checkpoint::CheckPoint;
pub use control_file::{ControlFile, DatabaseState};
pub use crc::{crc32c, crc32c_append};
pub use start_wal::{StartWal, synthesise_start};

/// Bytes that are not what PostgreSQL would have written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("{what} is {got} bytes long: expected {expected}")]
    Length { what: &'static str, expected: usize, got: usize },
    #[error("wrong checksum of {what}: computed {computed:#010X}, found {found:#010X}")]
    Checksum { what: &'static str, computed: u32, found: u32 },
    #[error("{what} has the value {got}: expected {expected}")]
    Value { what: &'static str, expected: String, got: String },
}

impl FormatError {
    pub(crate) fn value(what: &'static str, expected: impl ToString, got: impl ToString) -> FormatError {
        FormatError::Value { what, expected: expected.to_string(), got: got.to_string() }
    }
}
