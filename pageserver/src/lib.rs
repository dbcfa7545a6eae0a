//! The pageserver: keeps every version of every page of its tenants, and answers with any of them.
//!
//! ```text
//! safekeepers ─▶ walreceiver ─▶ ingest ─▶ storage ─▶ pages ─▶ page_service, basebackup ─▶ computes
//!                              import ──▶    ▲
//!                                http ───────┘
//! ```

pub mod basebackup;
pub mod config;
pub mod daemon;
pub mod eviction;
pub mod gc;
pub mod history;
pub mod http;
pub mod import;
pub mod ingest;
mod kept_file;
pub mod owners;
pub mod page_service;
pub mod pages;
pub mod storage;
pub mod storage_trial;
pub mod walreceiver;
