//! The task of one timeline: owns its ingest, its connection and what it knows of safekeepers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use types::{Lsn, NodeId};

use super::candidates::Candidates;
use super::choose::{Choice, Current, Limits, choose};
use super::connection::{StreamError, WalStream};
use super::positions::TimelinePositions;
use super::{ReceiverContext, ReplayError, ReplayRequest, StatusCell, offloaded};
use crate::storage::Timeline;

const TICK: Duration = Duration::from_millis(250);
/// When nothing moves, safekeepers end the stream, and the broker says when there is more.
const IDLE: &str = "idle: all committed WAL is here";

pub(super) struct Receiver {
    context: ReceiverContext,
    timeline: Arc<Timeline>,
    status: StatusCell,
    candidates: Candidates,
    stream: Option<(NodeId, WalStream)>,
    positions: watch::Receiver<TimelinePositions>,
    replays: mpsc::Receiver<ReplayRequest>,
}

enum Event {
    Heard,
    Message(Result<Bytes, StreamError>),
    Replay(ReplayRequest),
    Tick,
    Superseded,
    Shutdown,
}

impl Receiver {
    pub(super) fn new(
        context: ReceiverContext,
        timeline: Arc<Timeline>,
        status: StatusCell,
        positions: watch::Receiver<TimelinePositions>,
        replays: mpsc::Receiver<ReplayRequest>,
    ) -> Self {
        let receiver = Self {
            context,
            timeline,
            status,
            candidates: Candidates::default(),
            stream: None,
            positions,
            replays,
        };
        receiver.say("no safekeeper is known yet".to_owned(), false);
        receiver
    }

    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                () = shutdown.cancelled() => Event::Shutdown,
                () = self.timeline.superseded() => Event::Superseded,
                // Whoever says them lives as long as this task's context.
                Ok(()) = self.positions.changed() => Event::Heard,
                message = next_of_stream(&mut self.stream) => Event::Message(message),
                Some(reply) = self.replays.recv() => Event::Replay(reply),
                _ = tick.tick() => Event::Tick,
            };
            // Storage may have no room for long: nothing of it is waited for then.
            let goes_on = tokio::select! {
                () = shutdown.cancelled() => false,
                goes_on = self.work_off(event) => goes_on,
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Whether there is more to do. Safe to cancel, if this is not used any more.
    async fn work_off(&mut self, event: Event) -> bool {
        match event {
            Event::Shutdown => return false,
            Event::Superseded => {
                self.stream = None;
                self.say("another pageserver owns the tenant now".to_owned(), true);
                return false;
            }
            Event::Heard => self.heard(),
            Event::Message(message) => self.message(message).await,
            Event::Replay(reply) => {
                let outcome = self.replay().await;
                // Who asked may have gone away; what was taken in stays.
                let _ = reply.send(outcome);
            }
            Event::Tick => self.tick().await,
        }
        if self.stream.is_none() {
            self.reconsider().await;
        }
        true
    }

    async fn replay(&mut self) -> Result<Lsn, ReplayError> {
        let timeline = self.timeline.id();
        if self.stream.is_some() {
            return Err(ReplayError::Connected(timeline));
        }
        offloaded::replay(&self.context, &self.timeline).await.map_err(|error| {
            let lsn = self.timeline.last_record_lsn();
            ReplayError::Failed { timeline, lsn, reason: error.to_string() }
        })
    }

    fn heard(&mut self) {
        let positions = self.positions.borrow_and_update().clone();
        self.candidates.retain(|id| positions.contains_key(&id));
        let Some(committed) = positions.values().map(|info| info.commit_lsn).max() else { return };
        if self.stream.is_none() && committed <= self.timeline.last_record_lsn() {
            self.say(IDLE.to_owned(), false);
        }
        {
            let mut status = self.status.lock().expect("no holder panics");
            status.known_lsn = status.known_lsn.max(committed);
        }
        for info in positions.into_values() {
            self.candidates.heard(info);
        }
    }

    async fn message(&mut self, message: Result<Bytes, StreamError>) {
        let Some((id, stream)) = &mut self.stream else { return };
        let id = *id;
        let result = match message {
            Ok(message) => stream.take_in(message).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => self.candidates.succeeded(id),
            Err(StreamError::Ended) => {
                tracing::info!(timeline = %self.timeline.id(), safekeeper = %id, "the safekeeper has no more WAL for now");
                self.stream = None;
                self.say(IDLE.to_owned(), false);
            }
            Err(error) => self.lose(id, &error),
        }
    }

    async fn tick(&mut self) {
        if let Some((id, stream)) = &mut self.stream {
            let id = *id;
            if let Err(error) = stream.feedback(false).await {
                self.lose(id, &error);
            }
        }
        self.reconsider().await;
    }

    async fn reconsider(&mut self) {
        let current = self.stream.as_ref().map(|(id, stream)| Current {
            id: *id,
            no_wal_for: stream.last_wal.elapsed(),
            silent_for: stream.last_message.elapsed(),
        });
        let limits = Limits { silence: self.context.silence_timeout, lagging: self.context.lagging_timeout };
        match choose(current, &self.candidates.all(), self.timeline.last_record_lsn(), limits) {
            Choice::Stay => {}
            Choice::Disconnect => {
                if let Some(current) = current {
                    self.lose(current.id, &StreamError::Silent(current.silent_for));
                }
            }
            Choice::Connect(id) => {
                if let Some(current) = current {
                    self.context.metrics.switches.inc();
                    tracing::info!(timeline = %self.timeline.id(), from = %current.id, to = %id, "other safekeeper");
                }
                self.connect(id).await;
            }
        }
    }

    async fn connect(&mut self, id: NodeId) {
        self.stream = None;
        let Some(address) = self.candidates.info(id).map(|info| info.pg_connstr.clone()) else { return };
        match WalStream::open(&self.context, &self.timeline, &address).await {
            Ok(stream) => {
                let start = self.timeline.last_record_lsn();
                tracing::info!(timeline = %self.timeline.id(), safekeeper = %id, lsn = %start, "receiving WAL");
                self.context.metrics.connections.inc();
                self.stream = Some((id, stream));
                self.say(format!("receiving from safekeeper {id} at {address}"), false);
            }
            Err(error) => self.lose(id, &error),
        }
    }

    fn lose(&mut self, id: NodeId, error: &StreamError) {
        let lsn = self.timeline.last_record_lsn();
        tracing::warn!(timeline = %self.timeline.id(), safekeeper = %id, %lsn, "no more WAL from here: {error}");
        self.context.metrics.failures.inc();
        self.stream = None;
        self.candidates.failed(id);
        self.say(format!("safekeeper {id}: {error}"), error.is_of_wal());
    }

    fn say(&self, text: String, broken: bool) {
        let mut status = self.status.lock().expect("no holder panics");
        (status.text, status.broken, status.connected) = (text, broken, self.stream.is_some());
    }
}

async fn next_of_stream(stream: &mut Option<(NodeId, WalStream)>) -> Result<Bytes, StreamError> {
    match stream {
        Some((_, stream)) => stream.next().await,
        None => std::future::pending().await,
    }
}
