//! Timelines that nobody uses come to rest, leave the disk, and are woken by whoever wants something of them. What is
//! done in which order is [`consensus::rest`]'s; the power may go after each step, and object storage may fail.

use std::collections::VecDeque;

use consensus::rest::{self, Leaving, Returning};
use types::{Lsn, NodeId};

use crate::disk::{AtRest, Partial, SEGMENT, START};
use crate::node::Input;
use crate::schedule::{FAULTS_END, Micros};
use crate::world::{Action, World};

/// What one step takes.
const STEP: std::ops::Range<Micros> = 200..15_000;

/// A timeline without an owner, on a safekeeper that runs.
pub enum Rest {
    Still,
    Leaving {
        steps: VecDeque<Leaving>,
        partial: Option<Partial>,
        /// Somebody waits until this is over.
        wanted: bool,
    },
    Returning(VecDeque<Returning<Partial>>),
}

impl World {
    /// Nobody is connected, nothing is under way, and nothing is left to be offloaded.
    pub(crate) fn evict_if_unused(&mut self, id: NodeId) {
        let node = &self.nodes[&id];
        let is_unused = node.is_idle() && !node.offloading && node.full == 0;
        if !is_unused || !self.connections_of(id).is_empty() || self.now >= FAULTS_END || self.dice(0..3) == 0
        {
            return;
        }
        // As the owner does when it ends: what lies behind the last whole record goes.
        let node = self.node(id);
        let Some(acceptor) = node.acceptor.take() else { return };
        let flush_lsn = node.disk.cut_to_durable();
        let state = acceptor.state().clone();
        self.require(flush_lsn == acceptor.flush_lsn(), || {
            format!("{id}: comes to rest at {flush_lsn}, but has acknowledged {}", acceptor.flush_lsn())
        });
        self.nodes_at_rest.insert(id, self.read_wal(id, START, flush_lsn).unwrap_or_default());
        let node = self.node(id);
        node.kept.at_rest = Some(AtRest { flush_lsn, partial: None });
        node.rest = Some(Rest::Still);
        let backup_lsn = node.kept.backup_lsn;
        let resting = rest::Resting {
            start_lsn: START,
            flush_lsn,
            backup_lsn,
            local_start_lsn: node.kept.local_start_lsn,
        };
        self.persist(id, state);
        self.counts.rests += 1;
        self.note(62, id.0, flush_lsn, || format!("{id}: comes to rest at {flush_lsn}"));
        let steps: VecDeque<Leaving> =
            rest::leave(&resting, &self.nodes[&id].disk.segments(), SEGMENT).into();
        if !self.power_may_go(id) && !steps.is_empty() {
            self.node(id).rest = Some(Rest::Leaving { steps, partial: None, wanted: false });
            self.next_step(id);
        }
    }

    fn next_step(&mut self, id: NodeId) {
        let delay = self.dice(STEP);
        let incarnation = self.nodes[&id].incarnation;
        self.after(delay, Action::RestStep { node: id, incarnation });
    }

    pub(crate) fn rest_step(&mut self, id: NodeId, incarnation: u64) {
        let node = self.node(id);
        if node.incarnation != incarnation {
            return;
        }
        match node.rest.take() {
            Some(Rest::Leaving { steps, partial, wanted }) => self.leaving_step(id, steps, partial, wanted),
            Some(Rest::Returning(steps)) => self.returning_step(id, steps),
            other => node.rest = other,
        }
    }

    fn leaving_step(
        &mut self,
        id: NodeId,
        mut steps: VecDeque<Leaving>,
        mut partial: Option<Partial>,
        wanted: bool,
    ) {
        self.node(id).rest = Some(Rest::Still);
        match steps.pop_front() {
            // The WAL stays here then.
            Some(Leaving::StorePartial { .. }) if self.storage_fails() => steps.clear(),
            Some(Leaving::StorePartial { begin, end }) => {
                let wal = self.nodes[&id].disk.read(begin.max(START), end).map(<[u8]>::to_vec);
                self.require(wal.is_some(), || format!("{id}: its last segment is not here at rest"));
                let Some(wal) = wal else { return };
                partial = Some(self.storage.put_partial(id, begin.segment_number(SEGMENT), wal));
            }
            Some(Leaving::WriteControlFile { local_start_lsn }) => {
                let node = self.node(id);
                node.kept.local_start_lsn = local_start_lsn;
                if let Some(rest) = node.kept.at_rest.as_mut() {
                    rest.partial = partial;
                }
                let state = node.disk.state().clone();
                self.persist(id, state);
            }
            Some(Leaving::RemoveSegments) => {
                for number in self.nodes[&id].disk.segments() {
                    self.node(id).disk.remove_segment(number);
                    if self.power_may_go(id) {
                        return;
                    }
                }
                self.counts.evicted += 1;
                self.note(63, id.0, Lsn::INVALID, || format!("{id}: is evicted"));
            }
            None => {}
        }
        self.check_rest(id);
        if self.power_may_go(id) {
            return;
        }
        if !steps.is_empty() {
            self.node(id).rest = Some(Rest::Leaving { steps, partial, wanted });
            self.next_step(id);
        } else if wanted {
            self.wake(id);
        }
    }

    /// Somebody wants something of a timeline at rest, and waits for it.
    pub(crate) fn wanted(&mut self, id: NodeId, input: Input) {
        match input {
            Input::Message { .. } | Input::Disconnected { .. } | Input::Membership { .. } => {
                self.node(id).inbox.push_back(input);
                self.wake(id);
            }
            // Who hears of it looks first whether somebody is there.
            Input::Position { .. } | Input::PeerLog { .. } | Input::Pulled { .. } => {}
        }
    }

    pub(crate) fn wake(&mut self, id: NodeId) {
        let node = self.node(id);
        match node.rest.as_mut() {
            Some(Rest::Leaving { wanted, .. }) => *wanted = true,
            Some(Rest::Still) => {
                let partial = node.kept.at_rest.as_ref().and_then(|rest| rest.partial);
                node.rest = Some(Rest::Returning(rest::come_back(partial).into()));
                self.next_step(id);
            }
            Some(Rest::Returning(_)) | None => {}
        }
    }

    fn returning_step(&mut self, id: NodeId, mut steps: VecDeque<Returning<Partial>>) {
        self.node(id).rest = Some(Rest::Still);
        let flush_lsn = self.nodes[&id].disk.end();
        match steps.pop_front() {
            Some(Returning::RestorePartial(_)) if self.storage_fails() => {
                self.send_away(id);
                return;
            }
            Some(Returning::RestorePartial(partial)) => {
                let Some(wal) = self.storage.partial(id, partial).cloned() else {
                    self.require(false, || format!("{id}: its last segment is not in object storage"));
                    return;
                };
                self.node(id).disk.write_beginning(partial.number, &wal);
            }
            Some(Returning::WriteControlFile) => {
                self.node(id).kept.at_rest = None;
                let state = self.nodes[&id].disk.state().clone();
                self.persist(id, state);
            }
            Some(Returning::DeletePartial(partial)) => self.storage.delete_partial(id, partial),
            None => {}
        }
        if self.power_may_go(id) {
            return;
        }
        if steps.is_empty() {
            self.check_rest(id);
            self.node(id).rest = None;
            self.counts.woken += 1;
            self.note(64, id.0, flush_lsn, || format!("{id}: is in use again, with WAL up to {flush_lsn}"));
            self.open(id, flush_lsn);
            self.go_on(id);
        } else {
            self.node(id).rest = Some(Rest::Returning(steps));
            self.next_step(id);
        }
    }

    /// It cannot be had just now. Who waits for it comes again.
    fn send_away(&mut self, id: NodeId) {
        self.node(id).inbox.clear();
        for connection in self.connections_of(id) {
            self.close_at_node(connection);
        }
    }

    /// What lacks WAL is woken to get it, and what has it to give it. Whether one of them must be waited for.
    pub(crate) fn wake_to_catch_up(&mut self, id: NodeId, from: NodeId) -> bool {
        let [own, other] = [id, from].map(|node| &self.nodes[&node]);
        let [Some(mine), Some(theirs)] = [own.position, other.position] else { return false };
        let (mine, theirs) = ((mine.last_log_term, mine.flush_lsn), (theirs.last_log_term, theirs.flush_lsn));
        let sleepers = [id, from].into_iter().filter(|node| self.nodes[node].rest.is_some());
        let sleepers: Vec<NodeId> = sleepers.filter(|_| theirs > mine).collect();
        sleepers.iter().for_each(|node| self.wake(*node));
        !sleepers.is_empty()
    }

    /// Wherever it is: all that was durable when it came to rest can be read.
    pub(crate) fn check_rest(&mut self, id: NodeId) {
        let end = self.nodes[&id].disk.end();
        let same = self.read_wal(id, START, end).as_ref() == self.nodes_at_rest.get(&id);
        self.require(same, || format!("{id}: at rest it does not have the WAL up to {end} any more"));
    }
}
