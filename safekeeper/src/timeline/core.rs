//! [`Core`]: all that one timeline owns: its acceptor, its WAL, its control file, its proposers.
//!
//! A batch of inputs goes in, effects are carried out in the order in which the acceptor gives them. All of
//! it is blocking file work, so it runs beside the async threads, one batch at a time.
//!
//! Failures come in two kinds. When it is unknown what is on disk (a failed fsync, a read error), the
//! process ends. When a batch merely could not be done (a full disk, WAL that is not WAL), it is **undone**,
//! as if the process had been restarted: WAL is cut back to what was durable, the acceptor begins again with
//! the state that was persisted, and the proposers are told why their connections end. No reply that
//! depended on the failed step has left by then.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use consensus::offload::{self, View};
use consensus::{
    Acceptor, AcceptorEffect, AcceptorEvent, AcceptorMessage, AcceptorState, ConnectionId, MembershipAnswer,
    MembershipRequest, MissingWal, PeerLog, PeerPosition, ProposerMessage, RequestId,
};
use durable_fs::DurableFs;
use tokio::sync::{mpsc, oneshot, watch};
use types::{Lsn, NodeId, TenantTimelineId, Term};

use crate::metrics::{Metrics, TimelineMetrics};
use crate::timeline::changes::Changes;
use crate::timeline::control_file::{self, AtRest, ControlFile};
use crate::timeline::{Positions, PushReply};
use crate::wal_store::{WalStore, WalStoreError};
use safekeeper_api::replication::PageserverFeedback;

/// The control file is written anew at the latest so long after something in it has changed.
const LAZY_PERSIST: Duration = Duration::from_secs(10);

/// What happens to a timeline.
pub enum Input {
    Connected {
        connection: ConnectionId,
        replies: mpsc::Sender<PushReply>,
    },
    Message {
        from: ConnectionId,
        message: ProposerMessage,
    },
    Disconnected {
        connection: ConnectionId,
    },
    Pageserver(PageserverFeedback),
    Peer {
        node: NodeId,
        position: PeerPosition,
    },
    Membership {
        request: MembershipRequest,
        reply: oneshot::Sender<MembershipAnswer>,
    },
    Log {
        reply: oneshot::Sender<PeerLog>,
    },
    PeerLog {
        node: NodeId,
        log: PeerLog,
        reply: oneshot::Sender<Option<PullRequest>>,
    },
    Pulled {
        pull: u64,
        begin: Lsn,
        wal: Bytes,
    },
    /// All WAL before it is in object storage, and was compared.
    BackedUp {
        backup_lsn: Lsn,
    },
    /// To end, if nobody is here, with everything written down. Nobody but the caller has the timeline.
    Rest {
        reply: oneshot::Sender<bool>,
    },
    /// The timeline is being deleted.
    End,
}

/// WAL to be read from another safekeeper: `begin..end`, as long as the entry that ends at `end` is of `last_term`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullRequest {
    pub pull: u64,
    pub last_term: Term,
    pub begin: Lsn,
    pub end: Lsn,
}

/// Why the process must end.
#[derive(Debug, thiserror::Error)]
pub enum FatalError {
    #[error("timeline {ttid}: {source}")]
    Disk { ttid: TenantTimelineId, source: WalStoreError },
    #[error("timeline {ttid}: {source}")]
    MissingWal { ttid: TenantTimelineId, source: MissingWal },
    #[error("timeline {ttid}: {reason}")]
    Sync { ttid: TenantTimelineId, reason: String },
    #[error("{reason}")]
    Owners { reason: String },
}

pub struct Core {
    pub node_id: NodeId,
    pub fs: DurableFs,
    pub store: WalStore,
    pub acceptor: Acceptor,
    /// As it is on disk.
    pub control: ControlFile,
    pub directory: std::path::PathBuf,
    /// Administrators who wait.
    pub requests: HashMap<RequestId, oneshot::Sender<MembershipAnswer>>,
    /// What the acceptor wants to be read, until somebody is told.
    pub pull: Option<PullRequest>,
    /// Numbers for requests and pulls, none used twice.
    pub numbers: u64,
    pub clients: HashMap<ConnectionId, mpsc::Sender<PushReply>>,
    pub pageserver: PageserverFeedback,
    pub backup_lsn: Lsn,
    pub positions: watch::Sender<Positions>,
    pub state: watch::Sender<Arc<AcceptorState>>,
    pub metrics: Arc<Metrics>,
    pub gauges: TimelineMetrics,
    pub changes: Arc<Changes>,
    pub persisted_at: Instant,
    /// After an attempt for which there was no room: when the next one is due.
    pub lazily_not_before: Option<Instant>,
    /// It has been brought to rest, or is being deleted: nothing may change any more.
    pub ended: bool,
}

impl Core {
    /// Takes in a batch. When this returns, everything that could be acknowledged has been.
    pub fn process(&mut self, batch: Vec<Input>) -> Result<(), FatalError> {
        let mut batch = VecDeque::from(batch);
        let messages = batch.iter().filter(|input| matches!(input, Input::Message { .. })).count();
        if messages > 0 {
            self.metrics.batch_messages.observe(messages as f64);
        }
        // What comes behind an input that failed is not of the proposers that are sent away for it.
        loop {
            let outcome = self.try_process(&mut batch);
            self.undo_if_failed(outcome)?;
            if batch.is_empty() || self.ended {
                break;
            }
        }
        self.remove_offloaded()?;
        self.publish();
        Ok(())
    }

    fn try_process(&mut self, batch: &mut VecDeque<Input>) -> Result<(), WalStoreError> {
        while let Some(input) = batch.pop_front() {
            match input {
                Input::Connected { connection, replies } => {
                    self.clients.insert(connection, replies);
                }
                // Messages that a connection sent before it was closed here count no more.
                Input::Message { from, .. } if !self.clients.contains_key(&from) => {}
                Input::Message { from, message } => self.step(AcceptorEvent::Message { from, message })?,
                Input::Disconnected { connection } => {
                    self.clients.remove(&connection);
                    self.step(AcceptorEvent::Disconnected { connection })?;
                }
                Input::Pageserver(positions) => {
                    self.pageserver = merge(self.pageserver, within(positions, self.acceptor.commit_lsn()));
                    let ingested_lsn = self.pageserver.last_received_lsn;
                    self.step(AcceptorEvent::PageserverPosition { ingested_lsn })?;
                }
                Input::Peer { node, position } => {
                    self.step(AcceptorEvent::PeerPosition { node, position })?
                }
                Input::Membership { request, reply } => {
                    let from = RequestId(self.next_number());
                    self.requests.insert(from, reply);
                    self.step(AcceptorEvent::Membership { from, request })?;
                }
                // What a flush brings about may be on its way; the log as it is now is true all the same.
                Input::Log { reply } => drop(reply.send(self.log())),
                Input::PeerLog { node, log, reply } => {
                    let number = self.next_number();
                    self.step(AcceptorEvent::PeerLog { node, number, log })?;
                    let _ = reply.send(self.pull.take());
                }
                Input::Pulled { pull, begin, wal } => {
                    self.step(AcceptorEvent::PulledWal { pull, begin, wal })?
                }
                Input::BackedUp { backup_lsn } => self.backup_lsn = self.backup_lsn.max(backup_lsn),
                Input::Rest { reply } => {
                    // Who asks looks whether there is somebody; what they sent is in this queue before this.
                    self.step(AcceptorEvent::BatchEnd)?;
                    let alone = self.clients.is_empty() && self.requests.is_empty();
                    if alone {
                        self.rest()?;
                    }
                    let _ = reply.send(alone);
                }
                Input::End => {
                    self.ended = true;
                    return Ok(());
                }
            }
        }
        self.step(AcceptorEvent::BatchEnd)
    }

    /// Writes down that nothing is going on. The WAL then ends at the flush LSN, as it would after a restart.
    pub fn rest(&mut self) -> Result<(), WalStoreError> {
        let flush_lsn = self.cut_to_durable()?;
        self.persist(ControlFile {
            at_rest: Some(AtRest { flush_lsn, partial: None }),
            ..self.control_as_of_now()
        })?;
        self.ended = true;
        Ok(())
    }

    fn control_as_of_now(&self) -> ControlFile {
        ControlFile {
            acceptor: self.acceptor.state().clone(),
            remote_consistent_lsn: self.pageserver.remote_consistent_lsn,
            backup_lsn: self.backup_lsn,
            ..self.control.clone()
        }
    }

    /// Removes segments that are needed here no more: object storage has them, the pageserver has what they say in
    /// object storage too, and every member has them.
    fn remove_offloaded(&mut self) -> Result<(), FatalError> {
        let view = View {
            backup_lsn: self.backup_lsn,
            remote_consistent_lsn: self.pageserver.remote_consistent_lsn,
            horizon_lsn: self.acceptor.state().horizon_lsn,
            commit_lsn: self.acceptor.commit_lsn(),
        };
        let segment = self.control.acceptor.identity.wal_seg_size.bytes();
        let Some(local_start_lsn) = offload::remove_before(&view, self.control.local_start_lsn, segment)
        else {
            return Ok(());
        };
        let outcome = self
            .persist(ControlFile { local_start_lsn, ..self.control_as_of_now() })
            .and_then(|()| self.store.remove_before(local_start_lsn));
        match outcome {
            Ok(()) => {
                tracing::info!(timeline = %self.ttid(), lsn = %local_start_lsn, "WAL before it is in object storage only");
                Ok(())
            }
            Err(error) if error.is_disk_full() => Ok(()),
            Err(source) => Err(FatalError::Disk { ttid: self.ttid(), source }),
        }
    }

    fn step(&mut self, event: AcceptorEvent) -> Result<(), WalStoreError> {
        let mut effects = VecDeque::from(self.acceptor.step(event));
        while let Some(effect) = effects.pop_front() {
            if let Some(followed_by) = self.carry_out(effect)? {
                // What a flush brings about comes before what was to be done after the flush.
                for effect in self.acceptor.step(followed_by).into_iter().rev() {
                    effects.push_front(effect);
                }
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, effect: AcceptorEffect) -> Result<Option<AcceptorEvent>, WalStoreError> {
        match effect {
            AcceptorEffect::WriteWal { begin, wal } => {
                self.store.append(begin, &wal)?;
                self.metrics.wal_received_bytes.inc_by(wal.len() as u64);
            }
            AcceptorEffect::FlushWal { log_version } => {
                let timer = self.metrics.wal_write_seconds.start_timer();
                self.store.write_out()?;
                timer.observe_duration();
                let timer = self.metrics.wal_flush_seconds.start_timer();
                let record_end = self.store.flush()?;
                timer.observe_duration();
                let durable_lsn = self.store.write_lsn();
                return Ok(Some(AcceptorEvent::Flushed { log_version, durable_lsn, record_end }));
            }
            AcceptorEffect::TruncateWal { to } => {
                tracing::info!(timeline = %self.ttid(), %to, was = %self.store.write_lsn(), "WAL is cut back");
                self.store.truncate(to)?;
            }
            AcceptorEffect::PersistState(state) => self.persist_state(*state)?,
            AcceptorEffect::Reply { to, message, after: _ } => self.reply(to, message),
            AcceptorEffect::Answer { to, answer, after: _ } => {
                if let Some(reply) = self.requests.remove(&to) {
                    // Who waited no longer asks again.
                    drop(reply.send(answer));
                }
            }
            AcceptorEffect::PullWal { node, pull, last_term, begin, end } => {
                tracing::info!(timeline = %self.ttid(), %begin, %end, "WAL is read from safekeeper {node}");
                self.pull = Some(PullRequest { pull, last_term, begin, end });
            }
            AcceptorEffect::Distrust { node, refusal } => {
                tracing::error!(timeline = %self.ttid(), "WAL of safekeeper {node} cannot be taken: {refusal}");
            }
            AcceptorEffect::Refuse { to, refusal } => {
                tracing::warn!(timeline = %self.ttid(), %refusal, "proposer refused");
                self.end_connection(to, &refusal.to_string());
            }
            AcceptorEffect::CommitAdvanced { .. } => self.publish(),
        }
        Ok(None)
    }

    fn persist_state(&mut self, state: AcceptorState) -> Result<(), WalStoreError> {
        let generation = state.configuration.generation;
        if generation != self.control.acceptor.configuration.generation {
            tracing::info!(timeline = %self.ttid(), generation = generation.0, "follows a new configuration");
        }
        if state.term != self.control.acceptor.term {
            tracing::info!(timeline = %self.ttid(), term = %state.term, "follows a new term");
        }
        if state.history != self.control.acceptor.history && self.store.write_lsn() == self.store.flush_lsn()
        {
            self.store.expect_new_writer();
        }
        self.persist(ControlFile { acceptor: state, ..self.control_as_of_now() })
    }

    fn persist(&mut self, control: ControlFile) -> Result<(), WalStoreError> {
        let timer = self.metrics.control_file_seconds.start_timer();
        control_file::write(&control, &self.fs, &self.directory)?;
        timer.observe_duration();
        self.persisted_at = Instant::now();
        self.state.send_replace(Arc::new(control.acceptor.clone()));
        self.control = control;
        Ok(())
    }

    /// When positions that are kept lazily are to be written down; never, if they are.
    pub fn lazily_due(&self) -> Option<Instant> {
        let control = self.control_as_of_now();
        if self.ended || control == self.control {
            return None;
        }
        // So that a restart never has to read more than a segment or so.
        let since = control.acceptor.commit_lsn.saturating_distance(self.control.acceptor.commit_lsn);
        let much = since >= control.acceptor.identity.wal_seg_size.bytes();
        let due = if much { self.persisted_at } else { self.persisted_at + LAZY_PERSIST };
        Some(self.lazily_not_before.map_or(due, |not_before| due.max(not_before)))
    }

    pub fn persist_lazily(&mut self) -> Result<(), FatalError> {
        let outcome = self.persist(self.control_as_of_now());
        self.excuse_full_disk(outcome)
    }

    /// At the end of the process.
    pub fn finish(&mut self) -> Result<(), FatalError> {
        let outcome = if self.ended { Ok(()) } else { self.rest() };
        self.excuse_full_disk(outcome)
    }

    fn excuse_full_disk(&mut self, outcome: Result<(), WalStoreError>) -> Result<(), FatalError> {
        match outcome {
            Err(error) if error.is_disk_full() => {
                tracing::warn!(timeline = %self.ttid(), %error, "positions are written down later");
                self.lazily_not_before = Some(Instant::now() + LAZY_PERSIST);
                Ok(())
            }
            outcome => outcome.map_err(|source| FatalError::Disk { ttid: self.ttid(), source }),
        }
    }

    fn reply(&mut self, to: ConnectionId, message: AcceptorMessage) {
        let Some(client) = self.clients.get(&to) else { return };
        // Bounded: who lets so many replies pile up is not reading them, and may come again.
        if client.try_send(PushReply::Message(message)).is_err() {
            self.clients.remove(&to);
        }
    }

    fn end_connection(&mut self, connection: ConnectionId, reason: &str) {
        if let Some(client) = self.clients.remove(&connection) {
            // If it is full or closed, the connection ends all the same: its last sender is dropped here.
            drop(client.try_send(PushReply::End(reason.to_owned())));
        }
    }

    fn undo_if_failed(&mut self, outcome: Result<(), WalStoreError>) -> Result<(), FatalError> {
        let Err(error) = outcome else { return Ok(()) };
        let ttid = self.ttid();
        if !can_be_undone(&error) {
            return Err(FatalError::Disk { ttid, source: error });
        }
        tracing::error!(timeline = %ttid, %error, "a batch is undone, its proposers are sent away");
        self.metrics.undone_batches.inc();
        let flush_lsn = self.cut_to_durable().map_err(|source| FatalError::Disk { ttid, source })?;
        self.begin_again(flush_lsn).map_err(|source| FatalError::MissingWal { ttid, source })?;
        self.requests.clear();
        self.pull = None;
        let connections: Vec<ConnectionId> = self.clients.keys().copied().collect();
        for connection in connections {
            self.end_connection(connection, &error.to_string());
        }
        Ok(())
    }

    fn cut_to_durable(&mut self) -> Result<Lsn, WalStoreError> {
        self.store.flush()?;
        let flush_lsn = self.store.flush_lsn();
        self.store.truncate(flush_lsn)?;
        Ok(flush_lsn)
    }

    /// As after a restart. But knowledge of what is committed is kept: it speaks of durable WAL only.
    fn begin_again(&mut self, flush_lsn: Lsn) -> Result<(), MissingWal> {
        let mut state = self.control.acceptor.clone();
        state.commit_lsn = self.acceptor.commit_lsn().max(state.commit_lsn);
        self.acceptor = Acceptor::new(self.node_id, state, flush_lsn)?;
        let ingested_lsn = self.pageserver.last_received_lsn;
        // Nobody leads now, so there is nobody to be told: no effects.
        self.acceptor.step(AcceptorEvent::PageserverPosition { ingested_lsn });
        Ok(())
    }

    pub fn publish(&self) {
        let positions = Positions {
            generation: self.acceptor.state().configuration.generation,
            term: self.acceptor.term(),
            elected_term: self.acceptor.state().history.last().term,
            last_log_term: self.acceptor.last_log_term(),
            flush_lsn: self.acceptor.flush_lsn(),
            durable_lsn: self.acceptor.durable_lsn(),
            commit_lsn: self.acceptor.commit_lsn(),
            remote_consistent_lsn: self.pageserver.remote_consistent_lsn,
            backup_lsn: self.backup_lsn,
            local_start_lsn: self.control.local_start_lsn,
            leader: self.acceptor.leader(),
        };
        if self.positions.send_if_modified(|known| std::mem::replace(known, positions) != positions) {
            self.changes.note(self.ttid());
        }
        let gauge = |lsn: Lsn| i64::try_from(lsn.0).unwrap_or(i64::MAX);
        self.gauges.flush_position.set(gauge(positions.flush_lsn));
        self.gauges.commit_position.set(gauge(positions.commit_lsn));
        self.gauges.term.set(gauge(Lsn(positions.term.0)));
        if let Some(offload_lag) = &self.gauges.offload_lag {
            let offloaded = positions.backup_lsn.max(self.control.acceptor.timeline_start_lsn);
            offload_lag.set(gauge(Lsn(positions.commit_lsn.saturating_distance(offloaded))));
        }
    }

    fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn log(&self) -> PeerLog {
        let flush_lsn = self.acceptor.flush_lsn();
        PeerLog {
            history: self.acceptor.state().history.up_to(flush_lsn),
            flush_lsn,
            commit_lsn: self.acceptor.commit_lsn(),
        }
    }

    pub fn ttid(&self) -> TenantTimelineId {
        self.control.acceptor.identity.ttid
    }
}

/// Whether the disk surely still holds what it held before the step that failed.
fn can_be_undone(error: &WalStoreError) -> bool {
    match error {
        WalStoreError::Disk(error) => error.is_disk_full(),
        WalStoreError::NotWal { .. }
        | WalStoreError::NotContiguous { .. }
        | WalStoreError::Interrupted
        | WalStoreError::TruncateOutside { .. } => true,
        WalStoreError::Read { .. } | WalStoreError::Remote { .. } | WalStoreError::Lost { .. } => false,
    }
}

/// More than what is committed nobody can have got from here. What a pageserver got elsewhere, it says again.
fn within(positions: PageserverFeedback, commit_lsn: Lsn) -> PageserverFeedback {
    PageserverFeedback {
        last_received_lsn: positions.last_received_lsn.min(commit_lsn),
        disk_consistent_lsn: positions.disk_consistent_lsn.min(commit_lsn),
        remote_consistent_lsn: positions.remote_consistent_lsn.min(commit_lsn),
    }
}

/// Positions never go back: what an old message says is not news.
fn merge(known: PageserverFeedback, news: PageserverFeedback) -> PageserverFeedback {
    PageserverFeedback {
        last_received_lsn: known.last_received_lsn.max(news.last_received_lsn),
        disk_consistent_lsn: known.disk_consistent_lsn.max(news.disk_consistent_lsn),
        remote_consistent_lsn: known.remote_consistent_lsn.max(news.remote_consistent_lsn),
    }
}
