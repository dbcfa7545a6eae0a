//! The hazards of eviction, each met while the cache drops all that it may: what WAL does not say must still be
//! there for who needs it, and what WAL does say must come back as it was.
//!
//! ```text
//! workload   statements and what must come out of them; one that does not end has failed, too
//! survives   all came out right, though pages were evicted and fetched again, and none came back different
//! bites      with a rule of the eviction broken, the same workload comes to harm: the rule is needed, and the
//!            test would notice if it were gone
//! shadow     a full copy of all pages, with which the server compares every page that it reads
//! ```

mod command_ids;
mod conflicts;
mod databases;
mod entries;
mod indexes;
mod parallel;
mod prefetch;
mod relations;
mod sequences;
mod series;
mod server;
mod session;
mod stress;
mod vacuum;
mod visibility;

use server::{BROKEN_GRACE, BROKEN_PAGE_LSN, BROKEN_SEQUENCES, FULL, HARD, SMALL, Server};
use session::{Session, all, for_a_while};

/// What was wrong, if anything was.
type Outcome = Result<(), String>;
