//! What requests and responses have in common.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use types::{Fork, Lsn, RelTag, SlruKind, TraceParent};

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MessageError {
    #[error("a page service message ends too early")]
    Truncated,
    #[error("a page service message has {0} bytes too many")]
    TrailingBytes(usize),
    #[error("{0} is not the tag of a page service message")]
    UnknownTag(u8),
    #[error("{0} is not a relation fork")]
    UnknownFork(u8),
    #[error("{0} is not an SLRU")]
    UnknownSlru(u8),
    #[error("a run of {count} blocks from block {block} is not from 1 to {max} blocks")]
    BadRun { block: u32, count: u32, max: u32 },
    #[error("a trace context whose trace id or span id is all zeros")]
    BadTrace,
    #[error("an error message without its final NUL, or not in UTF-8")]
    BadText,
}

/// The same in a request and in its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The client's number of the request.
    pub request_id: u64,
    pub request_lsn: Lsn,
    pub not_modified_since: Lsn,
}

impl Header {
    pub(super) const SIZE: usize = 24;

    pub(super) fn put(self, buffer: &mut BytesMut) {
        buffer.put_u64(self.request_id);
        buffer.put_u64(self.request_lsn.0);
        buffer.put_u64(self.not_modified_since.0);
    }

    pub(super) fn get(buffer: &mut Bytes) -> Result<Header, MessageError> {
        Ok(Header {
            request_id: get_u64(buffer)?,
            request_lsn: Lsn(get_u64(buffer)?),
            not_modified_since: Lsn(get_u64(buffer)?),
        })
    }
}

pub(super) fn put_rel(rel: RelTag, buffer: &mut BytesMut) {
    buffer.put_u32(rel.spc);
    buffer.put_u32(rel.db);
    buffer.put_u32(rel.rel);
    buffer.put_u8(rel.fork.number());
}

pub(super) fn get_rel(buffer: &mut Bytes) -> Result<RelTag, MessageError> {
    let (spc, db, rel) = (get_u32(buffer)?, get_u32(buffer)?, get_u32(buffer)?);
    let fork = get_u8(buffer)?;
    Ok(RelTag { spc, db, rel, fork: Fork::from_number(fork).ok_or(MessageError::UnknownFork(fork))? })
}

pub(super) fn get_slru(buffer: &mut Bytes) -> Result<SlruKind, MessageError> {
    let kind = get_u8(buffer)?;
    SlruKind::from_number(kind).ok_or(MessageError::UnknownSlru(kind))
}

pub(super) fn get_trace(buffer: &mut Bytes) -> Result<TraceParent, MessageError> {
    let mut bytes = [0; TraceParent::SIZE];
    buffer.try_copy_to_slice(&mut bytes).map_err(|_| MessageError::Truncated)?;
    TraceParent::from_bytes(bytes).ok_or(MessageError::BadTrace)
}

pub(super) fn get_u8(buffer: &mut Bytes) -> Result<u8, MessageError> {
    buffer.try_get_u8().map_err(|_| MessageError::Truncated)
}

pub(super) fn get_u32(buffer: &mut Bytes) -> Result<u32, MessageError> {
    buffer.try_get_u32().map_err(|_| MessageError::Truncated)
}

pub(super) fn get_u64(buffer: &mut Bytes) -> Result<u64, MessageError> {
    buffer.try_get_u64().map_err(|_| MessageError::Truncated)
}

pub(super) fn get_bytes(buffer: &mut Bytes, length: usize) -> Result<Bytes, MessageError> {
    if buffer.len() < length { Err(MessageError::Truncated) } else { Ok(buffer.split_to(length)) }
}

pub(super) fn at_end(buffer: &Bytes) -> Result<(), MessageError> {
    if buffer.is_empty() { Ok(()) } else { Err(MessageError::TrailingBytes(buffer.len())) }
}
