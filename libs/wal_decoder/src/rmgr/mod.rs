//! What records of each resource manager say, as far as they change more than the pages they register.
//!
//! Each `decode` takes a record whose `header.rmid` is that resource manager's and returns the typed
//! contents. The low four bits of `info` are never looked at.

pub mod xlog;
