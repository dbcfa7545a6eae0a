//! `START_REPLICATION`: WAL out, to pageservers, standbys, pg_receivewal, recovering proposers and other safekeepers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use auth::{Need, Scope};
use pg_backend::{CopyReader, CopyWriter, QueryError, Session, sqlstate};
use safekeeper_api::replication::{Keepalive, ReceiverMessage, SenderMessage, Until, XLogData, timestamp};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use types::{BLCKSZ, Lsn};

use crate::timeline::{Standby, Timeline, WalSender};
use crate::wal_service::errors;

/// WAL bytes in one message, as a stock walsender has it.
const MAX_SEND_BYTES: usize = 128 * 1024;
/// Of silence from us, after which a keepalive is sent.
const KEEPALIVE: Duration = Duration::from_secs(1);
/// Of silence from the client, after which it is asked for an answer; after twice that it is taken for dead.
const ASK_FOR_REPLY: Duration = Duration::from_secs(30);

/// Streams until the client ends it, the connection breaks, or the server stops.
pub async fn stream_wal(
    timeline: Arc<Timeline>,
    session: &mut Session,
    start: Lsn,
    tli: Option<u32>,
    until: Until,
) -> Result<(), QueryError> {
    check_request(&timeline, start, tli, until)?;
    let is_trusted = session.check(Need::Part(Scope::Safekeeper)).is_ok();
    let shutdown = session.shutdown().clone();
    let sender = timeline.register_sender(session, start);
    let standby = timeline.standbys().join();
    let (mut reader, mut writer) = session.copy_both().await?.split();
    tracing::info!(timeline = %timeline.ttid(), %start, ?until, "WAL reader comes");

    let heard = Heard {
        reply_requested: Notify::new(),
        last: watch::Sender::new(Instant::now()),
        ingested: watch::Sender::new(None),
        is_trusted,
    };
    let outcome = tokio::select! {
        outcome = receive(&timeline, &sender, &standby, &mut reader, &heard) => outcome,
        outcome = send(&timeline, &sender, &mut writer, start, until, &heard) => outcome,
        () = shutdown.cancelled() => Err(errors::timeline_stopped(timeline.ttid())),
    };
    tracing::info!(timeline = %timeline.ttid(), sent = %sender.sent_lsn(), "WAL reader leaves");
    outcome
}

/// What the receiving side tells the sending side.
struct Heard {
    reply_requested: Notify,
    last: watch::Sender<Instant>,
    /// How far a pageserver has come, if it is one.
    ingested: watch::Sender<Option<Lsn>>,
    /// Whether it may say what the pageserver has: WAL that is there need not be kept here.
    is_trusted: bool,
}

fn check_request(timeline: &Timeline, start: Lsn, tli: Option<u32>, until: Until) -> Result<(), QueryError> {
    let ours = timeline.tli();
    if let Some(tli) = tli
        && tli != ours
    {
        let message =
            format!("timeline {tli} is not in the history of this cluster, whose timeline is {ours}");
        return Err(QueryError::new(sqlstate::INVALID_PARAMETER_VALUE, message));
    }
    // Bytes of the first segment before the timeline's start are kept too: pg_receivewal begins at a segment.
    let first = timeline.segments().start_of(timeline.start_lsn());
    let positions = timeline.positions();
    if start < first {
        let message = format!(
            "WAL from {start} is not here: timeline {} has it from {first} to {}",
            timeline.ttid(),
            positions.commit_lsn
        );
        return Err(QueryError::new(sqlstate::UNDEFINED_OBJECT, message));
    }
    limit(timeline, until).map(|_| ())
}

/// How far WAL may be sent. Behind the commit LSN it may be replaced by a newer term's, so this is asked before WAL is
/// read, and once more before it is sent.
fn limit(timeline: &Timeline, until: Until) -> Result<Lsn, QueryError> {
    let positions = timeline.positions();
    match until {
        Until::Committed => Ok(positions.commit_lsn),
        Until::Flushed(term) if term != positions.term => Err(errors::other_term(term, positions.term)),
        // It has voted. Until it hears of the election, what it has may be another's.
        Until::Flushed(term) if term != positions.elected_term => {
            Err(errors::not_elected(term, positions.elected_term))
        }
        Until::Flushed(_) => Ok(positions.flush_lsn),
        // A history is persisted before any WAL of its last term is written: with the same term in it there, all WAL
        // up to there is the same.
        Until::Entry { last_term, end } => {
            let ours = timeline.persisted_state().history.last_log_term(end);
            if ours == last_term && positions.flush_lsn >= end {
                Ok(end)
            } else {
                Err(errors::other_entry(end, last_term, ours, positions.flush_lsn))
            }
        }
    }
}

async fn receive(
    timeline: &Timeline,
    sender: &WalSender,
    standby: &Standby,
    reader: &mut CopyReader<'_>,
    heard: &Heard,
) -> Result<(), QueryError> {
    while let Some(bytes) = reader.next().await? {
        heard.last.send_replace(Instant::now());
        match ReceiverMessage::decode(bytes) {
            Ok(ReceiverMessage::StandbyStatus(status)) => {
                sender.note_confirmed(status.flush_lsn);
                if status.reply_requested {
                    heard.reply_requested.notify_one();
                }
            }
            Ok(ReceiverMessage::HotStandbyFeedback { feedback, .. }) => standby.needs(feedback),
            Ok(ReceiverMessage::PageserverFeedback(_)) if !heard.is_trusted => {
                let message = "only who has a token of scope safekeeper says what the pageserver has";
                return Err(QueryError::fatal(sqlstate::INSUFFICIENT_PRIVILEGE, message));
            }
            Ok(ReceiverMessage::PageserverFeedback(feedback)) => {
                sender.note_confirmed(feedback.remote_consistent_lsn);
                heard.ingested.send_replace(Some(feedback.last_received_lsn));
                timeline.note_pageserver(feedback).await.map_err(errors::stopped)?;
            }
            Err(error) => {
                return Err(QueryError::fatal(sqlstate::PROTOCOL_VIOLATION, error.to_string()));
            }
        }
    }
    Ok(())
}

async fn send(
    timeline: &Timeline,
    sender: &WalSender,
    writer: &mut CopyWriter<'_>,
    start: Lsn,
    until: Until,
    heard: &Heard,
) -> Result<(), QueryError> {
    let mut positions = timeline.watch_positions();
    let mut moved = Instant::now();
    let mut reader = timeline.reader(start);
    loop {
        positions.mark_unchanged();
        let end = limit(timeline, until)?;
        while reader.position() < end {
            let at = reader.position();
            let bytes = reader.read(end, most_bytes(at)).await.map_err(errors::wal_store)?;
            // A newer term may have replaced what was just read behind the commit LSN.
            limit(timeline, until)?;
            timeline.count_sent(bytes.len());
            let timestamp = timestamp(SystemTime::now());
            let message = XLogData { start_lsn: at, wal_end: end, timestamp, wal: bytes };
            writer.send(SenderMessage::XLogData(message).encode()).await?;
            sender.note_sent(reader.position());
            moved = Instant::now();
        }
        writer.flush().await?;
        // A pageserver that has everything comes back when the broker says that there is more. Until then, nothing here
        // need be in memory.
        let has_all = heard.ingested.borrow().is_some_and(|ingested| ingested >= end);
        if has_all && timeline.proposers().is_empty() && moved.elapsed() >= timeline.evict_after() {
            tracing::info!(timeline = %timeline.ttid(), lsn = %end, "the pageserver has everything, and nothing moves");
            return Ok(());
        }
        tokio::select! {
            changed = positions.changed() => changed.map_err(|_| errors::timeline_stopped(timeline.ttid()))?,
            () = heard.reply_requested.notified() => keepalive(writer, end, false).await?,
            () = tokio::time::sleep(KEEPALIVE) => {
                let silence = heard.last.borrow().elapsed();
                if silence > 2 * ASK_FOR_REPLY {
                    let message = format!("the WAL reader was silent for {} s", silence.as_secs());
                    return Err(QueryError::fatal(sqlstate::CONNECTION_FAILURE, message));
                }
                keepalive(writer, end, silence > ASK_FOR_REPLY).await?;
            }
        }
    }
}

/// How much to send from `at` on: to the end of a page, as PostgreSQL's walsender does. Its standbys rely on it that WAL
/// ends with a page or with a record (`XLogDecodeNextRecord` takes the rest of a record's first page for present), and the
/// commit LSN is the end of a record.
fn most_bytes(at: Lsn) -> usize {
    let end = at.0.saturating_add(MAX_SEND_BYTES as u64);
    (end - end % BLCKSZ as u64).saturating_sub(at.0) as usize
}

async fn keepalive(
    writer: &mut CopyWriter<'_>,
    wal_end: Lsn,
    reply_requested: bool,
) -> Result<(), QueryError> {
    let message = Keepalive { wal_end, timestamp: timestamp(SystemTime::now()), reply_requested };
    writer.send(SenderMessage::Keepalive(message).encode()).await?;
    Ok(writer.flush().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_ends_with_a_page() {
        for at in [0, 8, 8191, 8192, 0x16B_9188, 0x2E8_AA58] {
            let end = at + most_bytes(Lsn(at)) as u64;
            assert!(end.is_multiple_of(8192) && end > at && end - at <= MAX_SEND_BYTES as u64, "{at}: {end}");
        }
    }
}
