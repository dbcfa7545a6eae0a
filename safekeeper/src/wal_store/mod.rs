//! The WAL of one timeline on disk: segments in PostgreSQL's own format and under its own names, so that
//! `pg_waldump` and every other tool reads them.
//!
//! ```text
//!  segments    where the files are, their names          records      where whole records end
//!  store       append, flush, truncate (one owner)       prehistory   bytes before the timeline's start
//!  reader      reading what is durable (many)            recovery     the end of WAL after a crash
//!  remote      segments in object storage
//! ```
//! Words: **write LSN** is the end of the bytes written, perhaps in the middle of a record; **flush LSN** is
//! the end of the last whole record that is durable. Every byte of a segment behind the write LSN is zero:
//! stale bytes of a divergent tail could otherwise look like a continuation.
//!
//! Segments always have their full length, and are filled with zeros before the first append to them, so that an
//! append changes no file's length and a full disk is noticed when a segment is begun, not in the middle of one. A
//! timeline that has no WAL yet takes no such space: tenants have many that nobody ever writes to.

mod error;
mod prehistory;
mod reader;
mod records;
mod recovery;
mod remote;
mod segments;
mod store;
#[cfg(test)]
pub mod test_wal;
#[cfg(test)]
mod tests;

pub use error::WalStoreError;
#[cfg(test)]
pub use prehistory::synthesise;
pub use reader::WalReader;
pub use remote::{RemoteSegments, RemoteWalError, tenant_prefix, timeline_prefix};
pub use segments::Segments;
pub use store::{Begin, WalStore};
