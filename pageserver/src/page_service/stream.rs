//! `pagestream_v3`: many requests under way, answers in the order of the requests.
//!
//! An answer is sent as soon as those before it are. Whether the client takes it or not, requests under way go on: they
//! hold locks of layers and places at the object store, for which others wait, other tenants too.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use pageserver_api::pagestream::Request;
use pg_backend::{QueryError, Session, sqlstate};
use tracing::Instrument;

use super::{PageService, answer, spans};
use crate::storage::Timeline;

/// Bytes of answers that the client has not taken; from then on no request of it is taken up.
const MOST_UNSENT: usize = 128 << 10;

pub(super) async fn serve(
    service: &PageService,
    timeline: &Arc<Timeline>,
    session: &mut Session,
) -> Result<(), QueryError> {
    let shutdown = session.shutdown().clone();
    let (mut reader, mut writer) = session.copy_both().await?.split();
    let mut answers = FuturesOrdered::new();
    let mut client_done = false;
    // Also when nothing is in the buffer: TLS keeps what the socket has not taken, until a flush comes to its end.
    let mut unflushed = false;
    while !client_done || !answers.is_empty() || unflushed {
        let room =
            !client_done && answers.len() < service.requests_in_flight && writer.unsent() < MOST_UNSENT;
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {
                return Err(QueryError::fatal(sqlstate::ADMIN_SHUTDOWN, "the pageserver is shutting down"));
            }
            Some(answer) = answers.next(), if !answers.is_empty() => {
                writer.put(answer);
                unflushed = true;
            }
            flushed = writer.flush(), if unflushed => {
                flushed?;
                unflushed = false;
            }
            message = reader.next(), if room => match message? {
                Some(message) => {
                    // What a client sends is wrong for good: it does not speak this protocol.
                    let request = Request::decode(message)
                        .map_err(|error| QueryError::fatal(sqlstate::PROTOCOL_VIOLATION, error.to_string()))?;
                    let span = spans::of_request(timeline.id(), &request);
                    answers.push_back(answer::answer(service, timeline, request).instrument(span));
                }
                None => client_done = true,
            }
        }
    }
    Ok(())
}
