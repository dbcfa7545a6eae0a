//! The vocabulary of the system: the words that every part uses for the same thing.
//!
//! Nothing here does I/O, knows what a thread is, or reads a clock. A type that only one crate
//! needs does not belong here.

mod id;
mod key;
mod lsn;
mod pg;
mod schema;
mod trace;

pub use id::{Generation, NodeId, ParseIdError, TenantId, TenantTimelineId, Term, TimelineId};
pub use key::{Key, KeyKind, KeyRange, ParseKeyError, SlruKind};
pub use lsn::{Lsn, ParseLsnError};
pub use pg::{
    BLCKSZ, Fork, Oid, ParsePgVersionError, PgVersion, RELSEG_BLOCKS, RelTag, TransactionId, WalSegmentSize,
};
pub use trace::{ParseTraceParentError, TraceParent};
