//! How others talk to a safekeeper: the words of its three doors, and thin clients for them.
//!
//! - [`http`]: timelines are created and looked at over HTTP.
//! - [`wire`]: a proposer pushes WAL in, with the messages of the `consensus` crate, inside COPY BOTH.
//! - [`control_file`]: what it keeps of a timeline beside the WAL, for tools that read it at rest.
//! - [`offloaded`]: names of the objects that hold WAL.
//! - [`owners`]: which pageserver generations it has granted, at rest as well.
//! - [`replication`]: WAL goes out as PostgreSQL's own streaming replication, with one message of ours
//!   for the pageserver's progress. The walproposer reads PostgreSQL's walsender with the same code.
//!
//! Nothing here decides anything: no retries, no elections, no server code.

pub mod control_file;
mod cursor;
pub mod framed;
pub mod http;
pub mod offloaded;
pub mod owners;
pub mod replication;
pub mod standby_feedback;
pub mod wire;

pub use cursor::DecodeError;
