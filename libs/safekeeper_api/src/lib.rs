//! The contract of the safekeeper: its HTTP API with a thin client, and the messages that travel inside
//! COPY BOTH: WAL in ([`push`]) and out ([`replication`]). No server code.

pub mod http;
pub mod push;
pub mod replication;
