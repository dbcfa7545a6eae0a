//! What a client asks.

use bytes::{BufMut, Bytes, BytesMut};
use types::{Oid, RelTag, SlruKind, TraceParent};

use super::fields::{Header, MessageError, at_end, get_rel, get_slru, get_trace, get_u8, get_u32, put_rel};

/// Most blocks that one request for a run may name: 1 MiB.
pub const MAX_RUN_BLOCKS: u32 = 128;

/// Of a tag: a trace context follows the body.
const TRACED: u8 = 0x80;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub header: Header,
    pub body: RequestBody,
    /// The trace that the request belongs to, if its client said.
    pub trace: Option<TraceParent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestBody {
    Exists { rel: RelTag },
    Nblocks { rel: RelTag },
    GetPage { rel: RelTag, block: u32 },
    DbSize { database: Oid },
    SlruSegment { slru: SlruKind, segment: u32 },
    GetPageRun { rel: RelTag, block: u32, count: u32 },
}

impl RequestBody {
    const fn tag(&self) -> u8 {
        match self {
            RequestBody::Exists { .. } => 0,
            RequestBody::Nblocks { .. } => 1,
            RequestBody::GetPage { .. } => 2,
            RequestBody::DbSize { .. } => 3,
            RequestBody::SlruSegment { .. } => 4,
            RequestBody::GetPageRun { .. } => 5,
        }
    }

    /// For logs and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            RequestBody::Exists { .. } => "exists",
            RequestBody::Nblocks { .. } => "nblocks",
            RequestBody::GetPage { .. } => "get_page",
            RequestBody::DbSize { .. } => "dbsize",
            RequestBody::SlruSegment { .. } => "slru_segment",
            RequestBody::GetPageRun { .. } => "get_page_run",
        }
    }

    pub(super) fn put(&self, buffer: &mut BytesMut) {
        match *self {
            RequestBody::Exists { rel } | RequestBody::Nblocks { rel } => put_rel(rel, buffer),
            RequestBody::GetPage { rel, block } => {
                put_rel(rel, buffer);
                buffer.put_u32(block);
            }
            RequestBody::DbSize { database } => buffer.put_u32(database),
            RequestBody::SlruSegment { slru, segment } => {
                buffer.put_u8(slru as u8);
                buffer.put_u32(segment);
            }
            RequestBody::GetPageRun { rel, block, count } => {
                put_rel(rel, buffer);
                buffer.put_u32(block);
                buffer.put_u32(count);
            }
        }
    }

    pub(super) fn get(tag: u8, buffer: &mut Bytes) -> Result<RequestBody, MessageError> {
        match tag {
            0 => Ok(RequestBody::Exists { rel: get_rel(buffer)? }),
            1 => Ok(RequestBody::Nblocks { rel: get_rel(buffer)? }),
            2 => Ok(RequestBody::GetPage { rel: get_rel(buffer)?, block: get_u32(buffer)? }),
            3 => Ok(RequestBody::DbSize { database: get_u32(buffer)? }),
            4 => Ok(RequestBody::SlruSegment { slru: get_slru(buffer)?, segment: get_u32(buffer)? }),
            5 => {
                let (rel, block, count) = (get_rel(buffer)?, get_u32(buffer)?, get_u32(buffer)?);
                let fits = (1..=MAX_RUN_BLOCKS).contains(&count) && block.checked_add(count).is_some();
                if !fits {
                    return Err(MessageError::BadRun { block, count, max: MAX_RUN_BLOCKS });
                }
                Ok(RequestBody::GetPageRun { rel, block, count })
            }
            unknown => Err(MessageError::UnknownTag(unknown)),
        }
    }
}

impl Request {
    pub fn encode(&self) -> Bytes {
        let mut buffer = BytesMut::with_capacity(1 + Header::SIZE + 21 + TraceParent::SIZE);
        buffer.put_u8(self.body.tag() | if self.trace.is_some() { TRACED } else { 0 });
        self.header.put(&mut buffer);
        self.body.put(&mut buffer);
        if let Some(trace) = self.trace {
            buffer.put_slice(&trace.to_bytes());
        }
        buffer.freeze()
    }

    pub fn decode(mut message: Bytes) -> Result<Request, MessageError> {
        let tag = get_u8(&mut message)?;
        let header = Header::get(&mut message)?;
        let body = RequestBody::get(tag & !TRACED, &mut message)?;
        let trace = if tag & TRACED == 0 { None } else { Some(get_trace(&mut message)?) };
        at_end(&message)?;
        Ok(Request { header, body, trace })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{Fork, Lsn};

    const REL: RelTag = RelTag { spc: 1663, db: 5, rel: 16384, fork: Fork::Vm };

    const TRACE: TraceParent = TraceParent { trace_id: [0xa1; 16], span_id: [0xb2; 8], is_sampled: true };

    fn requests() -> Vec<Request> {
        let header = Header { request_id: 7, request_lsn: Lsn::MAX, not_modified_since: Lsn(0x1_0000_0020) };
        [
            RequestBody::Exists { rel: REL },
            RequestBody::Nblocks { rel: REL },
            RequestBody::GetPage { rel: REL, block: 3 },
            RequestBody::DbSize { database: 5 },
            RequestBody::SlruSegment { slru: SlruKind::MultiXactOffsets, segment: 9 },
            RequestBody::GetPageRun { rel: REL, block: 3, count: MAX_RUN_BLOCKS },
        ]
        .into_iter()
        .flat_map(|body| [None, Some(TRACE)].map(|trace| Request { header, body, trace }))
        .collect()
    }

    #[test]
    fn requests_round_trip_and_are_never_torn() {
        for request in requests() {
            let bytes = request.encode();
            assert_eq!(Request::decode(bytes.clone()), Ok(request));
            for length in 0..bytes.len() {
                assert!(Request::decode(bytes.slice(..length)).is_err(), "{request:?} cut to {length}");
            }
            let mut longer = BytesMut::from(&bytes[..]);
            longer.put_u8(0);
            assert_eq!(Request::decode(longer.freeze()), Err(MessageError::TrailingBytes(1)));
        }
    }

    #[test]
    fn the_layout_is_the_published_one() {
        let body =
            "0000000000000007 ffffffffffffffff 0000000100000020 0000067f 00000005 00004000 02 00000003";
        let trace = format!("{} {} 01", "a1".repeat(16), "b2".repeat(8));
        for (request, expected) in [(4, format!("02 {body}")), (5, format!("82 {body} {trace}"))] {
            let hex: String = requests()[request].encode().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected.replace(' ', ""));
        }
    }

    #[test]
    fn senseless_requests_are_refused() {
        let header = requests()[0].header;
        for (block, count) in [(0, 0), (0, MAX_RUN_BLOCKS + 1), (u32::MAX, 1)] {
            let body = RequestBody::GetPageRun { rel: REL, block, count };
            let request = Request { header, body, trace: None };
            assert!(matches!(Request::decode(request.encode()), Err(MessageError::BadRun { .. })));
        }
        let mut bytes = BytesMut::from(&requests()[0].encode()[..]);
        bytes[37] = 9;
        assert_eq!(Request::decode(bytes.clone().freeze()), Err(MessageError::UnknownFork(9)));
        bytes[0] = 99;
        assert_eq!(Request::decode(bytes.freeze()), Err(MessageError::UnknownTag(99)));
        let mut bytes = BytesMut::from(&requests()[1].encode()[..]);
        let trace = bytes.len() - TraceParent::SIZE;
        bytes[trace..].fill(0);
        assert_eq!(Request::decode(bytes.freeze()), Err(MessageError::BadTrace));
    }
}
