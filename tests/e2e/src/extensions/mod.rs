//! Extensions as Debian ships them, used for what people use them for, under a cache that holds neither their tables nor
//! their indexes: what they answer is what a stock server beside ours answers, also after a restart from nothing.
//!
//! ```text
//! beside      an endpoint and a stock server that are given the same statements, and all that must hold of both
//! contrib     pg_trgm and bloom; pg_stat_statements
//! postgis     geometry and geography in all kinds of indexes, spatial joins; a stock server with them imported
//! pgvector    nearest neighbours, by ivfflat and hnsw
//! pg_cron     jobs, which outlive their compute
//! ```
//!
//! Contrib is in PostgreSQL's own package. The others are not on the machine: `make test-extensions` runs these tests in
//! a small Debian that has them.

mod beside;
mod contrib;
mod pg_cron;
mod pgvector;
mod postgis;

use beside::Story;
