//! What the safekeepers of some worlds do beside consensus: whole segments go to object storage, and from the disk when
//! nobody needs them there. What is decided is [`consensus::offload`]'s; what is here is the daemon's part around it.
//!
//! Dice are of its own, as the pageservers' are: worlds without it are as they were before there was this.

use consensus::offload::{self, View};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use types::{Lsn, NodeId};

use crate::checker::identity;
use crate::disk::{Kept, SEGMENT, START};
use crate::schedule::{FAULTS_END, Micros};
use crate::storage::begin_of;
use crate::world::{Action, World};

/// Between two looks of a safekeeper.
const PACE: std::ops::Range<Micros> = 10_000..120_000;
const PUT: std::ops::Range<Micros> = 500..60_000;
const GET: std::ops::Range<Micros> = 500..20_000;
const DOWN: std::ops::Range<Micros> = 1_000..300_000;
/// Every so many steps object storage fails, or the power goes.
const FAILURE: u64 = 12;
const POWER_CUT: u64 = 30;

pub(crate) struct Offload {
    dice: StdRng,
    /// What the pageserver has in object storage, too.
    pub consistent_lsn: Lsn,
}

impl Offload {
    pub fn new(seed: u64) -> Self {
        Self { dice: StdRng::seed_from_u64(seed ^ 0x0FF1_0AD0), consistent_lsn: START }
    }
}

impl World {
    pub(crate) fn begin_offload(&mut self) {
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        for node in nodes {
            let delay = self.dice(PACE);
            self.after(delay, Action::Offload { node });
        }
    }

    pub(crate) fn dice(&mut self, range: std::ops::Range<Micros>) -> Micros {
        self.offload.dice.random_range(range)
    }

    /// Not any more once faults have ended.
    pub(crate) fn storage_fails(&mut self) -> bool {
        self.dice(0..FAILURE) == 0 && self.now < FAULTS_END
    }

    /// Whether the power went just now.
    pub(crate) fn power_may_go(&mut self, id: NodeId) -> bool {
        let goes = self.dice(0..POWER_CUT) == 0 && self.now < FAULTS_END;
        if goes {
            let lasts = self.dice(DOWN);
            self.power_cut(id, lasts);
        }
        goes
    }

    /// A safekeeper looks at what it has.
    pub(crate) fn look_at_segments(&mut self, id: NodeId) {
        let delay = self.dice(PACE);
        self.after(delay, Action::Offload { node: id });
        self.hear_of_pageserver(id);
        if self.nodes[&id].is_idle() {
            self.remove_offloaded(id);
        }
        if self.next_to_offload(id).is_some() {
            self.offload_next(id);
        } else {
            self.evict_if_unused(id);
        }
    }

    /// The pageserver takes in what this one shows, or tells it what it has.
    fn hear_of_pageserver(&mut self, id: NodeId) {
        let reads = self.dice(0..2) == 0;
        let Some(acceptor) = &self.nodes[&id].acceptor else { return };
        let commit_lsn = acceptor.commit_lsn();
        if reads {
            self.offload.consistent_lsn = self.offload.consistent_lsn.max(self.commit_lsn_of(id));
        }
        let told = self.offload.consistent_lsn.min(commit_lsn);
        let kept = &mut self.node(id).kept;
        kept.remote_consistent_lsn = kept.remote_consistent_lsn.max(told);
    }

    pub(crate) fn next_to_offload(&self, id: NodeId) -> Option<u64> {
        let node = &self.nodes[&id];
        // As it was published: what is decided and not carried out yet, nobody knows.
        let commit_lsn = node.position.filter(|_| node.acceptor.is_some())?.commit_lsn;
        offload::next_segment(START, node.kept.backup_lsn, commit_lsn, SEGMENT)
    }

    /// Puts the next segment, if it is this one's turn, or looks at what is there.
    fn offload_next(&mut self, id: NodeId) {
        let Some(number) = self.next_to_offload(id).filter(|_| !self.nodes[&id].offloading) else { return };
        let disk = &self.nodes[&id].disk;
        let (begin, end) = (begin_of(number), begin_of(number + 1));
        let Some(wal) = disk.read(begin, end).map(<[u8]>::to_vec) else {
            self.require(false, || {
                format!("{id}: segment {number} is to be offloaded, but is not here as a whole")
            });
            return;
        };
        let is_there = self.storage.segment(number).is_some();
        let members: Vec<NodeId> = disk.state().configuration.ids().into_iter().collect();
        let wait = offload::patience(identity().ttid.timeline_id, &members, id).as_secs();
        // Of who is not the first, the turn comes now and then: nobody here waits for so many seconds.
        if !is_there && self.dice(0..wait + 1) > 0 {
            return;
        }
        let node = self.node(id);
        node.offloading = true;
        let incarnation = node.incarnation;
        if !is_there {
            let delay = self.dice(PUT);
            self.after(delay, Action::PutSegment { number, wal: wal.clone() });
        }
        // What was put may be late, or lost: then it is not there when it is looked for.
        let delay = self.dice(PUT.start..PUT.end + GET.end);
        self.after(delay, Action::CompareSegment { node: id, incarnation, number, wal });
    }

    /// Also of who is gone meanwhile.
    pub(crate) fn put_segment(&mut self, number: u64, wal: Vec<u8>) {
        if self.storage_fails() {
            return;
        }
        let begin = (begin_of(number) - START) as usize;
        let committed = self.history.bytes.get(begin..begin + wal.len());
        let same = committed == Some(&wal[..]);
        self.require(same, || format!("segment {number} was offloaded with WAL that was not committed"));
        self.storage.put_segment(number, wal);
    }

    pub(crate) fn compare_segment(&mut self, id: NodeId, incarnation: u64, number: u64, wal: &[u8]) {
        let fails = self.storage_fails();
        let node = self.node(id);
        if node.incarnation != incarnation {
            return;
        }
        node.offloading = false;
        let Some(object) = self.storage.segment(number).filter(|_| !fails) else { return };
        let same = object == wal;
        self.require(same, || format!("{id}: segment {number} differs from the one in object storage"));
        self.counts.offloaded += 1;
        let backup_lsn = begin_of(number + 1);
        self.note(60, id.0, backup_lsn, || {
            format!("{id}: has seen WAL up to {backup_lsn} in object storage")
        });
        let kept = &mut self.node(id).kept;
        kept.backup_lsn = kept.backup_lsn.max(backup_lsn);
    }

    /// As the owner does at the end of a batch.
    fn remove_offloaded(&mut self, id: NodeId) {
        let node = &self.nodes[&id];
        let Some(acceptor) = node.acceptor.as_ref().filter(|_| node.full == 0) else { return };
        let state = acceptor.state().clone();
        let view = View {
            backup_lsn: node.kept.backup_lsn,
            remote_consistent_lsn: node.kept.remote_consistent_lsn,
            horizon_lsn: state.horizon_lsn,
            commit_lsn: state.commit_lsn,
        };
        let Some(before) = offload::remove_before(&view, node.kept.local_start_lsn, SEGMENT) else { return };
        self.check_removal(id, before);
        self.node(id).kept.local_start_lsn = before;
        self.persist(id, state);
        if self.power_may_go(id) {
            return;
        }
        let segments = self.nodes[&id].disk.segments();
        for number in segments.into_iter().filter(|number| begin_of(number + 1) <= before) {
            self.node(id).disk.remove_segment(number);
            self.counts.removed += 1;
            if self.power_may_go(id) {
                return;
            }
        }
    }

    fn check_removal(&mut self, id: NodeId, before: Lsn) {
        self.note(61, id.0, before, || format!("{id}: removes WAL before {before}"));
        let there = (START.segment_number(SEGMENT)..before.segment_number(SEGMENT))
            .all(|number| self.storage.segment(number).is_some());
        self.require(there, || format!("{id}: removes WAL before {before}, which is not in object storage"));
        let consistent_lsn = self.offload.consistent_lsn;
        self.require(before <= consistent_lsn, || {
            format!("{id}: removes WAL before {before}, the pageserver has it up to {consistent_lsn}")
        });
        // Where members change, newcomers get what is older from object storage.
        if self.members_stay {
            let all = self.nodes.values().all(|node| node.disk.end() >= before);
            self.require(all, || format!("{id}: removes WAL before {before}, which somebody lacks"));
        }
    }

    /// What is written down of the WAL that a newcomer does not get, since the donor has it in object storage.
    pub(crate) fn kept_of_newcomer(&self, donor: NodeId, commit_lsn: Lsn) -> Kept {
        let begin = commit_lsn.segment_start(SEGMENT);
        if begin > START && begin <= self.nodes[&donor].kept.backup_lsn {
            Kept { backup_lsn: begin, local_start_lsn: begin, ..Kept::default() }
        } else {
            Kept::default()
        }
    }
}
