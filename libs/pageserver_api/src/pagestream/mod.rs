//! The messages of `pagestream_v3`. Each travels in one CopyData; all integers are big-endian.
//!
//! ```text
//! request   tag u8 │ request id u64 │ request_lsn u64 │ not_modified_since u64 │ body
//!    0 exists        rel
//!    1 nblocks       rel
//!    2 get page      rel, block u32
//!    3 dbsize        database u32
//!    4 SLRU segment  kind u8, segment u32
//!    5 get page run  rel, block u32, count u32            (ours)
//!            rel = tablespace u32, database u32, relation u32, fork u8
//!  +0x80 the same of a trace: behind the body trace id 16, span id 8, flags u8, as in W3C's traceparent  (ours)
//!
//! response  tag u8 │ the three of the request │ the request's body again │ payload
//!  100 exists        u8
//!  101 nblocks       u32
//!  102 get page      8192 bytes
//!  103 error         "SQLSTATE: message" NUL; the request's body does not come again
//!  104 dbsize        i64
//!  105 SLRU segment  count u32, count × 8192 bytes
//!  106 get page run  count × 8192 bytes                   (ours; count as in the body)
//! ```
//! `request_lsn` is the moment that the client wants to see, `u64::MAX` for the latest. The client vouches
//! that the page did not change between `not_modified_since` and then, so the server may answer as soon as it
//! has WAL up to `not_modified_since`.

mod fields;
mod request;
mod response;

pub use fields::{Header, MessageError};
pub use request::{MAX_RUN_BLOCKS, Request, RequestBody};
pub use response::{Response, ResponseBody};
