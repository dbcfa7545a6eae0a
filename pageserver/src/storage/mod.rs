//! The storage engine: versions of keys, kept in layers in memory, on disk and in remote storage.
//!
//! ```text
//! put_batch ─▶ open layer ─freeze─▶ frozen layers ─flush─▶ delta layers on disk ─upload─▶ remote storage
//!              (memory)             (memory)               (fsynced, renamed)             + index_part.json
//!                │                     │                      │     │ compaction: merged, images,
//!                │                     │                      │     ▼ garbage left out
//! reads  ◀───────┴─────────────────────┴──────────────────────┴──▶ delta and image layers ──▶ the ancestor's
//! ```
//! One task writes a timeline; any number read it, each from an immutable snapshot (`timeline::view`).
//! `disk_consistent_lsn` moves only after a layer is on disk for good, `remote_consistent_lsn` only after an index
//! that names it is in remote storage and no other pageserver has come after this one; an error leaves both where they
//! were.
//!
//! Versions of a key are ordered by LSN; those of one key at one LSN keep the order in which a batch brought them,
//! in memory and in files alike, and a read gives them back in it.
//!
//! Nothing here knows what a WAL record or a page is: a change is bytes, and applying it is the reader's business.

mod compaction;
mod config;
mod environment;
mod error;
mod layers;
mod metadata;
mod metrics;
mod ownership;
mod redo;
mod room;
mod tenant;
mod timeline;
mod upload;
mod value;

pub use config::StorageConfig;
pub use error::StorageError;
pub use metadata::TimelineMetadata;
pub use metrics::StorageMetrics;
pub use ownership::{Claim, FixedGeneration, Owners};
pub use redo::Redo;
pub use tenant::{EvictableLayer, Surroundings, TenantManager, template_key};
pub use timeline::{
    Compacted, HeldLsn, LayerList, ListedFile, ListedMemory, Reach, ReadPlan, Timeline, TimelineStats,
    VisitedLayer,
};
pub use value::{Reconstruct, Value, WriteBatch};
