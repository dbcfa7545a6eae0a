//! The storage engine against a model, and against file systems and object stores that fail.

mod archive;
mod branches;
mod compaction;
mod crashes;
mod deletion;
mod eviction;
mod faults;
mod model;
mod ownership;
mod page_stream;
mod reads;
mod support;
