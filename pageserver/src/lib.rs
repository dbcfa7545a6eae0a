//! The pageserver: keeps every version of every page of its tenants, and answers with any of them.

pub mod storage;
pub mod ingest;
pub mod pages;
