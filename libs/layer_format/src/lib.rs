//! Layer files: where versions of keys lie on disk and in object storage.
//!
//! A *delta layer* holds every change of its key range in its LSN range; an *image layer* holds the whole value of
//! every key of its range at one LSN. Both are blocks of sorted entries, found through a two-level index. `FORMAT.md`
//! draws the bytes.
//!
//! This crate opens no files: a writer takes any [`std::io::Write`], a reader any [`ReadAt`]. It keeps no global
//! state and caches nothing but the index of a layer that is open. Bytes that were damaged give an error that names
//! the file and the block, never a wrong value and never a panic.

mod block;
mod error;
mod filter;
mod footer;
mod index;
mod name;
mod reader;
mod value;
mod writer;

pub use block::Compression;
pub use error::LayerError;
pub use footer::{Identity, LayerKind};
pub use name::{LayerLsns, LayerName, ParseLayerNameError};
pub use reader::{BlockCache, Entries, LayerReader, ReadAt};
pub use value::{Entry, Value};
pub use writer::{LayerSummary, LayerWriter};
