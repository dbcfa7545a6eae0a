//! The pageserver's contracts: what its HTTP API and its page service say, with thin clients for both.
//!
//! ```text
//! models      JSON of the HTTP API          client       the HTTP client
//! layers      JSON about what a timeline consists of
//! history     JSON about what is kept, and about when was what
//! pagestream  messages of pagestream_v3     page_client  a client of the page service
//! manifest    what a base backup says about itself
//! ```
//! Nothing here knows how an answer is made.

pub mod client;
pub mod history;
pub mod layers;
pub mod manifest;
pub mod models;
pub mod page_client;
pub mod pagestream;

pub use client::PageserverClient;
/// A page service that takes the trace of a request says so by this name at the start of a connection, with the value `on`.
/// One of before there were traces says nothing, and would refuse requests that have one.
pub const TRACES_PARAMETER: &str = "varve.traces";

pub use manifest::BackupManifest;
pub use page_client::{At, BackupRequest, PageClient, PageClientError, PageServiceAddress, RequestedKind};
