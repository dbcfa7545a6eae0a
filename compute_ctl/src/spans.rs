//! Spans of page requests, which PostgreSQL's processes measure and cannot send: each comes in one datagram, as
//! `pgext/trace.c` writes it, and goes to the collector with our own.
//!
//! The socket lies where the server's user alone gets at it. Nobody waits for this end of it: what does not fit is lost there,
//! and counted here.

use std::time::{Duration, SystemTime};

use bytes::Buf;
use telemetry::traces::span::{EndedSpan, KeyValue, lost, report};
use tokio::net::UnixDatagram;
use types::{Fork, Lsn, RelTag, TenantTimelineId, TraceParent};

use crate::error::ComputeError;
use crate::paths::{ComputePaths, remove_file};
use crate::server_user::ServerUser;

/// Of the datagrams; another version of the extension may write others.
const VERSION: u8 = 1;
/// Longer than any of them.
const ROOM: usize = 256;

pub struct SpanSocket {
    socket: UnixDatagram,
    timeline: TenantTimelineId,
}

impl SpanSocket {
    /// In place of the one that a predecessor left.
    pub fn bind(
        paths: &ComputePaths,
        user: ServerUser,
        timeline: TenantTimelineId,
    ) -> Result<SpanSocket, ComputeError> {
        let path = &paths.spans;
        remove_file(path).map_err(ComputeError::file("remove", path))?;
        let socket = UnixDatagram::bind(path).map_err(ComputeError::file("bind", path))?;
        user.own(path).map_err(ComputeError::file("give away", path))?;
        Ok(SpanSocket { socket, timeline })
    }

    /// Passes on what comes, for ever.
    pub async fn pass_on(self) {
        let mut datagram = [0; ROOM];
        loop {
            let length = match self.socket.recv(&mut datagram).await {
                Ok(length) => length,
                Err(error) => {
                    tracing::warn!("spans of PostgreSQL are not sent any more: {error}");
                    return;
                }
            };
            match read(&datagram[..length], self.timeline) {
                Some((span, before)) => {
                    lost(before.into());
                    report(span);
                }
                None => lost(1),
            }
        }
    }
}

/// The span, and how many were lost before it. None if it is not understood.
fn read(mut from: &[u8], timeline: TenantTimelineId) -> Option<(EndedSpan, u32)> {
    if from.try_get_u8().ok()? != VERSION {
        return None;
    }
    let (mut context, mut parent) = ([0; TraceParent::SIZE], [0; 8]);
    from.try_copy_to_slice(&mut context).ok()?;
    from.try_copy_to_slice(&mut parent).ok()?;
    let (began, ended) = (from.try_get_u64().ok()?, from.try_get_u64().ok()?);
    let (spc, db, rel) = (from.try_get_u32().ok()?, from.try_get_u32().ok()?, from.try_get_u32().ok()?);
    let fork = Fork::from_number(from.try_get_u8().ok()?)?;
    let (block, blocks) = (from.try_get_u32().ok()?, from.try_get_u32().ok()?);
    let not_modified_since = Lsn(from.try_get_u64().ok()?);
    let (pid, lost) = (from.try_get_u32().ok()?, from.try_get_u32().ok()?);
    let name = if blocks == 1 { "get_page" } else { "get_page_run" };
    let mut attributes = vec![
        KeyValue::new("rpc.system", "varve.pagestream"),
        KeyValue::new("rpc.method", name),
        KeyValue::new("varve.tenant_id", timeline.tenant_id.to_string()),
        KeyValue::new("varve.timeline_id", timeline.timeline_id.to_string()),
        KeyValue::new("varve.not_modified_since", not_modified_since.to_string()),
        KeyValue::new("varve.relation", RelTag { spc, db, rel, fork }.to_string()),
        KeyValue::new("varve.block", i64::from(block)),
        KeyValue::new("process.pid", i64::from(pid)),
    ];
    if blocks > 1 {
        attributes.push(KeyValue::new("varve.blocks", i64::from(blocks)));
    }
    let span = EndedSpan {
        itself: TraceParent::from_bytes(context)?,
        parent,
        name: name.into(),
        start_time: moment(began)?,
        end_time: moment(ended.max(began))?,
        attributes,
    };
    from.is_empty().then_some((span, lost))
}

/// Microseconds since 1970.
fn moment(microseconds: u64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(microseconds))
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;
    use types::{TenantId, TimelineId};

    use super::*;

    fn datagram() -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.put_slice(&[0xa1; 16]);
        bytes.put_slice(&[0xb2; 8]);
        bytes.put_u8(1);
        bytes.put_slice(&[0xc3; 8]);
        bytes.put_u64(1_700_000_000_000_000);
        bytes.put_u64(1_700_000_000_000_250);
        [1663, 5, 16384].into_iter().for_each(|number| bytes.put_u32(number));
        bytes.put_u8(Fork::Main.number());
        bytes.put_u32(7);
        bytes.put_u32(16);
        bytes.put_u64(0x16B_9188);
        bytes.put_u32(4242);
        bytes.put_u32(3);
        bytes
    }

    #[test]
    fn a_datagram_is_a_span() {
        let timeline = TenantTimelineId::new(TenantId([0; 16]), TimelineId([1; 16]));
        let (span, lost) = read(&datagram(), timeline).unwrap();
        assert_eq!((span.itself.trace_id, span.itself.span_id), ([0xa1; 16], [0xb2; 8]));
        assert_eq!((span.parent, span.name.as_ref(), lost), ([0xc3; 8], "get_page_run", 3));
        let took = span.end_time.duration_since(span.start_time).unwrap();
        assert_eq!(took, Duration::from_micros(250));
        let says = |name: &str| {
            let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == name);
            found.map(|attribute| attribute.value.to_string()).unwrap_or_default()
        };
        assert_eq!((says("varve.block"), says("varve.blocks")), ("7".to_owned(), "16".to_owned()));
        assert_eq!(says("varve.not_modified_since"), "0/16B9188");
    }

    #[test]
    fn what_is_no_span_is_passed_over() {
        let timeline = TenantTimelineId::new(TenantId([0; 16]), TimelineId([1; 16]));
        let whole = datagram();
        for length in 0..whole.len() {
            assert!(read(&whole[..length], timeline).is_none(), "cut to {length}");
        }
        assert!(read(&[&whole[..], &[0]].concat(), timeline).is_none());
        let mut other = whole.clone();
        other[0] = 2;
        assert!(read(&other, timeline).is_none());
        // Its times go backwards, since somebody has set the clock.
        let mut backwards = whole;
        backwards[42..50].fill(0);
        let (span, _) = read(&backwards, timeline).unwrap();
        assert_eq!(span.end_time, span.start_time);
    }
}
