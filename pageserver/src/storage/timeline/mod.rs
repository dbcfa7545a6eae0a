//! One branch of a tenant's history: the only writer of its layers, and the way to read them.
//!
//! ```text
//! view.rs        the immutable snapshot that every read starts from
//! write.rs       put_batch, freezing
//! flush.rs       frozen layers to disk
//! compact.rs     layers merged, images made
//! collect.rs     what nobody may read any more
//! leases.rs      what must stay because somebody reads it
//! detach.rs      what it has from its ancestors becomes its own
//! upload.rs      layers and index to remote storage
//! read.rs        one key, or a run of keys, at an LSN
//! scan.rs        all keys of a range at an LSN
//! explain.rs     what a read goes through
//! list.rs        which layers there are
//! background.rs  the tasks that flush, compact and upload
//! ```

mod background;
mod collect;
mod compact;
mod detach;
mod explain;
mod flush;
mod leases;
mod list;
mod live;
mod read;
mod scan;
mod upload;
mod view;
mod write;

use std::collections::BTreeSet;
use std::iter::successors;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use layer_map::LayerMap;
use remote_storage::ObjectKey;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::{Key, Lsn, TenantTimelineId, TimelineId};

use super::compaction;
use super::environment::Environment;
use super::layers::DiskLayer;
use super::ownership::Ownership;
use super::upload::{IndexPart, Said};
use super::{StorageError, TimelineMetadata};
use collect::Collected;
pub use compact::Compacted;
pub use explain::{ReadPlan, VisitedLayer};
use leases::Leases;
pub use leases::{HeldLsn, Reach};
pub use list::{LayerList, ListedFile, ListedMemory};
pub(super) use view::extent;
use view::{Position, View};

/// Numbers about a timeline for status pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimelineStats {
    /// Bytes of its own layer files, without its ancestors'.
    pub physical_size: u64,
    pub layers: usize,
    pub open_layer_bytes: u64,
    pub frozen_layers: usize,
}

/// What may be read: everything from the cutoff on, and below it the pins, at which branches begin or which somebody
/// leases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Horizon {
    pub(super) cutoff: Lsn,
    pub(super) pins: Vec<Lsn>,
}

/// Objects of a timeline that its index does not name: layers that no index came to name, older indexes.
#[derive(Debug, Default)]
pub(super) struct Orphans(pub(super) Vec<ObjectKey>);

impl Orphans {
    /// A few are no reason to write an index: they go with the next one that something else is a reason for.
    const FEW: usize = 4;

    fn are_many(&self) -> bool {
        self.0.len() > Self::FEW
    }
}

/// An object that no index need name any more.
struct Obsolete {
    /// The number of the view's change that made it so: it may be deleted when an index of that view or a later one is in
    /// remote storage, and nobody has come after us.
    change: u64,
    key: ObjectKey,
    /// It was there when the timeline was opened, and no layer of ours has had its name.
    is_orphan: bool,
}

/// Where a branch begins, and what lies below.
struct Ancestor {
    timeline: Arc<Timeline>,
    lsn: Lsn,
}

pub struct Timeline {
    id: TenantTimelineId,
    metadata: TimelineMetadata,
    /// Read before the view: who finds none finds all that there is in the view.
    ancestor: ArcSwapOption<Ancestor>,
    /// Its own layers have all that it had from its ancestor, and its index names none from now on.
    whole: AtomicBool,
    ownership: Arc<Ownership>,
    environment: Arc<Environment>,
    view: ArcSwap<View>,
    /// Held for the moment in which one view is made from another.
    changing_view: Mutex<()>,
    /// Held by whoever appends or freezes.
    writing: tokio::sync::Mutex<()>,
    flushing: tokio::sync::Mutex<()>,
    /// Held by whoever replaces or removes layer files.
    compacting: tokio::sync::Mutex<()>,
    uploading: tokio::sync::Mutex<()>,
    last_record: watch::Sender<Position>,
    disk_consistent_lsn: watch::Sender<Lsn>,
    remote_consistent_lsn: watch::Sender<Lsn>,
    frozen: Notify,
    view_changed: watch::Sender<()>,
    /// Layers that were flushed and not merged yet.
    level0_layers: AtomicUsize,
    compaction_fails: AtomicBool,
    /// Archived: what lies in remote storage only is not fetched to make it better.
    at_rest: AtomicBool,
    /// Keys whose values could not be made when images were.
    unmakeable: Mutex<BTreeSet<Key>>,
    horizon: ArcSwap<Horizon>,
    collected: ArcSwapOption<Collected>,
    /// Locked before the horizon is changed.
    leases: Mutex<Leases>,
    obsolete: Mutex<Vec<Obsolete>>,
    /// What the index that was put last says. None if there are objects that may be deleted only after this pageserver
    /// has put one.
    said: Mutex<Option<Said>>,
    closed: CancellationToken,
    tasks: TaskTracker,
}

impl Timeline {
    /// A timeline as its index in remote storage says; the index has been uploaded. Orphans are deleted when this
    /// pageserver has put an index, since only then nobody goes back to an older one that may name them.
    pub(super) fn open(
        environment: &Arc<Environment>,
        ownership: &Arc<Ownership>,
        index: &IndexPart,
        ancestor: Option<Arc<Timeline>>,
        layers: LayerMap<Arc<DiskLayer>>,
        orphans: Orphans,
    ) -> Arc<Self> {
        let durable = Position { last: index.disk_consistent_lsn, prev: index.prev_record_lsn };
        let said = Said {
            durable: durable.last,
            changes: 0,
            gc_cutoff: index.gc_cutoff,
            leased: index.leased.clone(),
        };
        let (said, when) = if orphans.are_many() { (None, 0) } else { (Some(said), 1) };
        let obsolete =
            orphans.0.into_iter().map(|key| Obsolete { change: when, key, is_orphan: true }).collect();
        let level0 = compaction::level0(&layers).len();
        let ancestor = ancestor.zip(index.ancestor_lsn).map(|(timeline, lsn)| Ancestor { timeline, lsn });
        let view = View::new(durable, layers, environment.metrics.memory_layer_bytes.clone());
        Arc::new(Self {
            id: index.timeline,
            metadata: index.metadata.clone(),
            ancestor: ArcSwapOption::new(ancestor.map(Arc::new)),
            whole: AtomicBool::new(false),
            ownership: Arc::clone(ownership),
            environment: Arc::clone(environment),
            view: ArcSwap::from_pointee(view),
            changing_view: Mutex::new(()),
            writing: tokio::sync::Mutex::new(()),
            flushing: tokio::sync::Mutex::new(()),
            compacting: tokio::sync::Mutex::new(()),
            uploading: tokio::sync::Mutex::new(()),
            last_record: watch::Sender::new(durable),
            disk_consistent_lsn: watch::Sender::new(durable.last),
            remote_consistent_lsn: watch::Sender::new(durable.last),
            frozen: Notify::new(),
            view_changed: watch::Sender::new(()),
            level0_layers: AtomicUsize::new(level0),
            compaction_fails: AtomicBool::new(false),
            at_rest: AtomicBool::new(false),
            unmakeable: Mutex::default(),
            horizon: ArcSwap::from_pointee(Horizon { cutoff: index.gc_cutoff, pins: index.leased.clone() }),
            collected: ArcSwapOption::empty(),
            leases: Mutex::new(Leases::again(&index.leased, environment.config.lease_length)),
            obsolete: Mutex::new(obsolete),
            said: Mutex::new(said),
            closed: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    pub fn id(&self) -> TenantTimelineId {
        self.id
    }

    pub fn metadata(&self) -> &TimelineMetadata {
        &self.metadata
    }

    pub fn ancestor(&self) -> Option<(TimelineId, Lsn)> {
        self.ancestor.load().as_ref().map(|ancestor| (ancestor.timeline.id.timeline_id, ancestor.lsn))
    }

    pub fn ancestor_timeline(&self) -> Option<Arc<Timeline>> {
        self.ancestor.load().as_ref().map(|ancestor| Arc::clone(&ancestor.timeline))
    }

    /// From the nearest on.
    fn ancestors(&self) -> impl Iterator<Item = Arc<Ancestor>> {
        successors(self.ancestor.load_full(), |ancestor| ancestor.timeline.ancestor.load_full())
    }

    /// The same, each with the LSN up to which a read at `lsn` needs what it has.
    fn ancestors_for(&self, lsn: Lsn) -> impl Iterator<Item = (Arc<Ancestor>, Lsn)> {
        self.ancestors().scan(lsn, |needed, ancestor| {
            *needed = ancestor.lsn.min(*needed);
            Some((ancestor, *needed))
        })
    }

    /// Where its own WAL starts: the end of initdb's, or the branch point.
    pub fn start_lsn(&self) -> Lsn {
        self.metadata.initdb_lsn
    }

    /// End of the last record that a batch brought. Everything up to here can be read.
    pub fn last_record_lsn(&self) -> Lsn {
        self.last_record.borrow().last
    }

    /// Start of that record; zero if it is not known, as after branching in the middle of the ancestor's history.
    pub fn prev_record_lsn(&self) -> Lsn {
        self.last_record.borrow().prev
    }

    /// Both of the above, of one moment.
    pub fn last_and_prev_record_lsn(&self) -> (Lsn, Lsn) {
        let position = *self.last_record.borrow();
        (position.last, position.prev)
    }

    /// Everything up to here is in fsynced layer files.
    pub fn disk_consistent_lsn(&self) -> Lsn {
        *self.disk_consistent_lsn.borrow()
    }

    /// Everything up to here is in remote storage, index included, where whoever owns the tenant next finds it:
    /// safekeepers may drop that WAL.
    pub fn remote_consistent_lsn(&self) -> Lsn {
        *self.remote_consistent_lsn.borrow()
    }

    pub fn watch_remote_consistent_lsn(&self) -> watch::Receiver<Lsn> {
        self.remote_consistent_lsn.subscribe()
    }

    /// Waits until everything up to `lsn` can be read.
    pub async fn wait_lsn(&self, lsn: Lsn, timeout: Duration) -> Result<(), StorageError> {
        if self.last_record_lsn() >= lsn {
            return Ok(());
        }
        let mut position = self.last_record.subscribe();
        tokio::select! {
            arrived = tokio::time::timeout(timeout, position.wait_for(|position| position.last >= lsn)) => match arrived {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(_)) => Err(StorageError::ShuttingDown),
                Err(_) => Err(StorageError::WaitLsnTimeout {
                    timeline: self.id,
                    wanted: lsn,
                    last_record_lsn: self.last_record_lsn(),
                    timeout,
                }),
            },
            () = self.closed.cancelled() => Err(StorageError::ShuttingDown),
            () = self.ownership.lost.cancelled() => Err(self.ownership.error()),
        }
    }

    /// Returns when another pageserver has come after this one.
    pub async fn superseded(&self) {
        self.ownership.lost.cancelled().await;
    }

    pub fn stats(&self) -> TimelineStats {
        let view = self.view.load();
        TimelineStats {
            physical_size: view.layers.iter().map(|(_, layer)| layer.file_size).sum(),
            layers: view.layers.len(),
            open_layer_bytes: view.open.bytes(),
            frozen_layers: view.frozen.len(),
        }
    }

    pub(super) fn evictable_layers(&self) -> Vec<Arc<DiskLayer>> {
        let layers = self.view.load_full().layers.clone();
        let evictable = layers.iter().filter(|(_, layer)| layer.is_evictable());
        evictable.map(|(_, layer)| Arc::clone(layer)).collect()
    }

    /// Makes the next view of the present one. The only place where views change.
    fn change_view(&self, change: impl FnOnce(&View) -> View) {
        let _changing = self.changing_view.lock().expect("no holder panics");
        let next = change(&self.view.load());
        next.assert_invariants();
        self.level0_layers.store(compaction::level0(&next.layers).len(), Ordering::Relaxed);
        self.view.store(Arc::new(next));
        self.view_changed.send_replace(());
    }
}
