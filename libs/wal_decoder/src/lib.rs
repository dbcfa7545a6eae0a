//! PostgreSQL's WAL, from bytes to records to what a record says.
//!
//! Three steps, each usable alone:
//! 1. [`WalStreamDecoder`] takes bytes as they arrive, in pieces of any size, and yields whole checked records;
//! 2. [`decode`] splits a record into its blocks, images and main data;
//! 3. [`rmgr`] reads the main data of those resource managers whose records change more than pages.
//!
//! Pure: no I/O, no clock. WAL is hostile until proven otherwise: every length is checked, nothing panics,
//! and memory is bounded by the longest record that is allowed. Applying a record to a page is
//! `page_redo`'s business.

mod error;
mod image;
mod reader;
mod record;
pub mod rmgr;
mod stream;

pub use error::{DecodeError, Malformation};
pub use image::BlockImage;
pub use pg_format::wal::RecordHeader;
pub use record::{DecodedBlock, DecodedRecord, decode, flags};
pub use stream::{WalRecord, WalStreamDecoder};
