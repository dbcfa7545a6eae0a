//! What the pageserver answers.

use bytes::{BufMut, Bytes, BytesMut};
use types::{BLCKSZ, Oid, RelTag, SlruKind};

use super::fields::{Header, MessageError, at_end, get_bytes, get_u8, get_u32, get_u64};
use super::request::RequestBody;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub header: Header,
    pub body: ResponseBody,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseBody {
    Exists {
        rel: RelTag,
        exists: bool,
    },
    Nblocks {
        rel: RelTag,
        blocks: u32,
    },
    Page {
        rel: RelTag,
        block: u32,
        page: Bytes,
    },
    /// `message` begins with the SQLSTATE: `XX001: …`.
    Error {
        message: String,
    },
    DbSize {
        database: Oid,
        bytes: i64,
    },
    /// `pages` is as many whole pages as the segment has.
    SlruSegment {
        slru: SlruKind,
        segment: u32,
        pages: Bytes,
    },
    /// `pages` is exactly `count` pages.
    PageRun {
        rel: RelTag,
        block: u32,
        count: u32,
        pages: Bytes,
    },
}

impl ResponseBody {
    const fn tag(&self) -> u8 {
        match self {
            ResponseBody::Exists { .. } => 100,
            ResponseBody::Nblocks { .. } => 101,
            ResponseBody::Page { .. } => 102,
            ResponseBody::Error { .. } => 103,
            ResponseBody::DbSize { .. } => 104,
            ResponseBody::SlruSegment { .. } => 105,
            ResponseBody::PageRun { .. } => 106,
        }
    }

    /// The body of the request, which comes again in the response; errors have none.
    fn request(&self) -> Option<RequestBody> {
        match *self {
            ResponseBody::Exists { rel, .. } => Some(RequestBody::Exists { rel }),
            ResponseBody::Nblocks { rel, .. } => Some(RequestBody::Nblocks { rel }),
            ResponseBody::Page { rel, block, .. } => Some(RequestBody::GetPage { rel, block }),
            ResponseBody::Error { .. } => None,
            ResponseBody::DbSize { database, .. } => Some(RequestBody::DbSize { database }),
            ResponseBody::SlruSegment { slru, segment, .. } => {
                Some(RequestBody::SlruSegment { slru, segment })
            }
            ResponseBody::PageRun { rel, block, count, .. } => {
                Some(RequestBody::GetPageRun { rel, block, count })
            }
        }
    }

    fn payload_size(&self) -> usize {
        match self {
            ResponseBody::Exists { .. } | ResponseBody::Nblocks { .. } | ResponseBody::DbSize { .. } => 8,
            ResponseBody::Page { page: pages, .. }
            | ResponseBody::SlruSegment { pages, .. }
            | ResponseBody::PageRun { pages, .. } => 4 + pages.len(),
            ResponseBody::Error { message } => message.len() + 1,
        }
    }
}

impl Response {
    pub fn encode(&self) -> Bytes {
        let mut buffer = BytesMut::with_capacity(1 + Header::SIZE + 21 + self.body.payload_size());
        buffer.put_u8(self.body.tag());
        self.header.put(&mut buffer);
        if let Some(request) = self.body.request() {
            request.put(&mut buffer);
        }
        match &self.body {
            ResponseBody::Exists { exists, .. } => buffer.put_u8(u8::from(*exists)),
            ResponseBody::Nblocks { blocks, .. } => buffer.put_u32(*blocks),
            ResponseBody::Page { page: pages, .. } | ResponseBody::PageRun { pages, .. } => {
                buffer.extend_from_slice(pages);
            }
            ResponseBody::Error { message } => {
                buffer.extend(message.bytes().filter(|byte| *byte != 0));
                buffer.put_u8(0);
            }
            ResponseBody::DbSize { bytes, .. } => buffer.put_i64(*bytes),
            ResponseBody::SlruSegment { pages, .. } => {
                buffer.put_u32((pages.len() / BLCKSZ) as u32);
                buffer.extend_from_slice(pages);
            }
        }
        buffer.freeze()
    }

    pub fn decode(mut message: Bytes) -> Result<Response, MessageError> {
        let tag = get_u8(&mut message)?;
        let header = Header::get(&mut message)?;
        if tag == 103 {
            let text = message.strip_suffix(&[0]).ok_or(MessageError::BadText)?;
            let message = String::from_utf8(text.to_vec()).map_err(|_| MessageError::BadText)?;
            return Ok(Response { header, body: ResponseBody::Error { message } });
        }
        let request = match tag {
            100..=102 => tag - 100,
            104..=106 => tag - 101,
            unknown => return Err(MessageError::UnknownTag(unknown)),
        };
        let body = Self::payload(RequestBody::get(request, &mut message)?, &mut message)?;
        at_end(&message)?;
        Ok(Response { header, body })
    }

    fn payload(request: RequestBody, message: &mut Bytes) -> Result<ResponseBody, MessageError> {
        Ok(match request {
            RequestBody::Exists { rel } => ResponseBody::Exists { rel, exists: get_u8(message)? != 0 },
            RequestBody::Nblocks { rel } => ResponseBody::Nblocks { rel, blocks: get_u32(message)? },
            RequestBody::GetPage { rel, block } => {
                ResponseBody::Page { rel, block, page: get_bytes(message, BLCKSZ)? }
            }
            RequestBody::DbSize { database } => {
                ResponseBody::DbSize { database, bytes: get_u64(message)? as i64 }
            }
            RequestBody::SlruSegment { slru, segment } => {
                let count = get_u32(message)?;
                let pages = get_bytes(message, (count as usize).saturating_mul(BLCKSZ))?;
                ResponseBody::SlruSegment { slru, segment, pages }
            }
            RequestBody::GetPageRun { rel, block, count } => {
                let pages = get_bytes(message, count as usize * BLCKSZ)?;
                ResponseBody::PageRun { rel, block, count, pages }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{Fork, Lsn};

    #[test]
    fn responses_round_trip_and_are_never_torn() {
        let rel = RelTag { spc: 1663, db: 5, rel: 16384, fork: Fork::Main };
        let header = Header { request_id: 1, request_lsn: Lsn(2), not_modified_since: Lsn(3) };
        let pages = |count: usize| Bytes::from(vec![0xaa; count * BLCKSZ]);
        let bodies = [
            ResponseBody::Exists { rel, exists: true },
            ResponseBody::Nblocks { rel, blocks: 4 },
            ResponseBody::Page { rel, block: 3, page: pages(1) },
            ResponseBody::Error { message: "XX001: no".into() },
            ResponseBody::DbSize { database: 5, bytes: 1 << 40 },
            ResponseBody::SlruSegment { slru: SlruKind::Clog, segment: 1, pages: pages(2) },
            ResponseBody::PageRun { rel, block: 3, count: 2, pages: pages(2) },
        ];
        for body in bodies {
            let response = Response { header, body };
            let bytes = response.encode();
            assert_eq!(Response::decode(bytes.clone()), Ok(response.clone()));
            for length in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
                assert!(Response::decode(bytes.slice(..length)).is_err(), "{response:?} cut to {length}");
            }
        }
    }

    #[test]
    fn the_tags_are_the_published_ones() {
        let header = Header { request_id: 1, request_lsn: Lsn(2), not_modified_since: Lsn(3) };
        let response = Response { header, body: ResponseBody::Error { message: "XX000: a\0b".into() } };
        let bytes = response.encode();
        assert_eq!((bytes[0], &bytes[25..]), (103, &b"XX000: ab\0"[..]));
        let body = ResponseBody::SlruSegment { slru: SlruKind::Clog, segment: 0, pages: Bytes::new() };
        assert_eq!(Response { header, body }.encode()[0], 105);
    }
}
