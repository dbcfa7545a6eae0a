//! The session with PostgreSQL's walsender: WAL comes in, positions of a synchronous standby go out.

use std::time::{Duration, Instant};

use bytes::Bytes;
use pg_frontend::{Address, ConnectParams, PgClient, PgError};
use safekeeper_api::replication::{
    ReceiverMessage, ReplicationReader, ReplicationWriter, SenderMessage, StandbyStatus, StartReplication,
    Until, timestamp,
};
use safekeeper_api::standby_feedback::StandbyFeedback;
use tokio::sync::{Notify, mpsc, watch};
use types::Lsn;

use super::identity::one_value;
use super::moment::Moment;
use super::{NAME, PgSocket, WalproposerError};

/// Positions are told at least so often.
const REPLY_INTERVAL: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_millis(100);
/// Without a walsender for so long, PostgreSQL is taken to be gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// What PostgreSQL is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    pub commit_lsn: Lsn,
    pub pageserver_lsn: Lsn,
    /// At some time after that, a quorum of safekeepers followed this compute. None: that is not known yet.
    pub followed: Option<Moment>,
}

pub enum PostgresInput {
    Wal { begin: Lsn, wal: Bytes },
    Ended(Result<(), WalproposerError>),
}

pub struct Postgres {
    pub socket: PgSocket,
    pub system_id: u64,
    /// Where the next WAL begins.
    pub at: Lsn,
    /// A session that has lasted was with a server that lives, though it may have had no WAL to send.
    pub streaming_since: Option<Instant>,
    pub positions: watch::Receiver<Positions>,
    pub standbys_need: watch::Receiver<StandbyFeedback>,
    /// Bounded and not read while too much WAL is uncommitted: so PostgreSQL has to wait.
    pub inputs: mpsc::Sender<PostgresInput>,
}

impl Postgres {
    /// Streams until PostgreSQL ends it or is gone. A walsender that died alone is replaced.
    pub async fn run(mut self) {
        let mut gone_since: Option<Instant> = None;
        let outcome = loop {
            let before = self.at;
            match self.session().await {
                Ok(()) => break Ok(()),
                Err(error @ WalproposerError::OtherSystem { .. }) => break Err(error),
                Err(error) => {
                    let lasted = self.streaming_since.take().is_some_and(|since| since.elapsed() > PATIENCE);
                    let since = match gone_since {
                        Some(since) if self.at == before && !lasted => since,
                        Some(_) | None => Instant::now(),
                    };
                    gone_since = Some(since);
                    tracing::warn!(lsn = %self.at, "{error}");
                    if since.elapsed() > PATIENCE {
                        break Ok(());
                    }
                }
            }
            tokio::time::sleep(RETRY).await;
        };
        let _ = self.inputs.send(PostgresInput::Ended(outcome)).await;
    }

    async fn session(&mut self) -> Result<(), WalproposerError> {
        let address = Address::Unix { directory: self.socket.directory.clone(), port: self.socket.port };
        let params =
            ConnectParams::new(address, &self.socket.user).application_name(NAME).physical_replication();
        // Without a quorum it is silent for as long as it takes.
        let params = params.option("wal_sender_timeout", "0");
        let mut client = PgClient::connect(&params).await.map_err(pg_error)?;
        let found =
            one_value(client.simple_query("IDENTIFY_SYSTEM").await.map_err(pg_error)?).map_err(pg_error)?;
        if found != self.system_id.to_string() {
            return Err(WalproposerError::OtherSystem { expected: self.system_id, found });
        }
        self.make_slot(&mut client).await?;
        let slot = Some(self.socket.slot.clone());
        let start = StartReplication { slot, start_lsn: self.at, until: Until::Committed };
        let (reader, writer) = start.begin(client).await?;
        tracing::info!(lsn = %self.at, "streaming from PostgreSQL");
        self.streaming_since = Some(Instant::now());
        let asked = Notify::new();
        let news = News { positions: self.positions.clone(), standbys_need: self.standbys_need.clone() };
        tokio::select! {
            ended = self.receive(reader, &asked) => ended,
            failed = reply(writer, news, &asked) => failed,
        }
    }

    /// Keeps WAL in pg_wal that no quorum has yet.
    async fn make_slot(&self, client: &mut PgClient) -> Result<(), WalproposerError> {
        let query = format!("CREATE_REPLICATION_SLOT {} PHYSICAL RESERVE_WAL", self.socket.slot);
        const DUPLICATE_OBJECT: &str = "42710";
        match client.simple_query(&query).await {
            Ok(_) => Ok(()),
            Err(error) if error.sqlstate() == Some(DUPLICATE_OBJECT) => Ok(()),
            Err(error) => Err(pg_error(error)),
        }
    }

    async fn receive(
        &mut self,
        mut reader: ReplicationReader,
        asked: &Notify,
    ) -> Result<(), WalproposerError> {
        while let Some(message) = reader.next().await? {
            match message {
                SenderMessage::XLogData(data) => {
                    if data.start_lsn != self.at {
                        let reason = format!("WAL begins at {}, not at {}", data.start_lsn, self.at);
                        return Err(pg_error(PgError::Protocol(reason)));
                    }
                    let end = data.start_lsn + data.wal.len() as u64;
                    let piece = PostgresInput::Wal { begin: data.start_lsn, wal: data.wal };
                    if self.inputs.send(piece).await.is_err() {
                        return Ok(());
                    }
                    self.at = end;
                }
                SenderMessage::Keepalive(keepalive) if keepalive.reply_requested => asked.notify_one(),
                SenderMessage::Keepalive(_) => {}
            }
        }
        Ok(())
    }
}

fn pg_error(error: PgError) -> WalproposerError {
    WalproposerError::Postgres(error.into())
}

struct News {
    positions: watch::Receiver<Positions>,
    standbys_need: watch::Receiver<StandbyFeedback>,
}

/// Tells the positions when they change, when PostgreSQL asks, and every second; and what standbys need, at the beginning,
/// since the slot may have kept what an earlier session said, and when it changes. Never returns Ok.
async fn reply(
    mut writer: ReplicationWriter,
    mut news: News,
    asked: &Notify,
) -> Result<(), WalproposerError> {
    news.standbys_need.mark_changed();
    loop {
        let Positions { commit_lsn, pageserver_lsn, followed } = *news.positions.borrow_and_update();
        // Not when this was sent: pgext/read_lease.c goes by it, and PostgreSQL takes it from either message.
        let timestamp = followed.map_or(0, |moment| timestamp(moment.time_of_day(Moment::now())));
        let status = StandbyStatus {
            write_lsn: commit_lsn,
            flush_lsn: commit_lsn,
            apply_lsn: pageserver_lsn,
            timestamp,
            reply_requested: false,
        };
        writer.send(&ReceiverMessage::StandbyStatus(status)).await?;
        if news.standbys_need.has_changed().unwrap_or(false) {
            let feedback = *news.standbys_need.borrow_and_update();
            writer.send(&ReceiverMessage::HotStandbyFeedback { timestamp, feedback }).await?;
        }
        tokio::select! {
            changed = news.positions.changed() => {
                if changed.is_err() {
                    return std::future::pending().await;
                }
            }
            Ok(()) = news.standbys_need.changed() => news.standbys_need.mark_changed(),
            () = asked.notified() => {}
            () = tokio::time::sleep(REPLY_INTERVAL) => {}
        }
    }
}
