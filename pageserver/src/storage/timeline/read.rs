//! Reads: the versions of a key from new to old, through memory, files and ancestors, until there is a base.
//!
//! What is in the open and frozen layers is answered at once. Files are read on a thread for blocking work, all steps
//! of a read in one go; if a file is not on local disk the read ends there, the file is fetched, and the read begins
//! again.

use std::ops::Range;
use std::sync::Arc;

use durable_fs::run_blocking;
use layer_format::Entry;
use layer_map::{Coverage, Step};
use telemetry::child_span;
use tracing::Instrument;
use types::{Key, Lsn, TenantTimelineId};

use super::view::View;
use super::{Ancestor, Timeline};
use crate::storage::layers::{Collector, DiskLayer, LayerSession, MemoryLayer, OpenLayer};
use crate::storage::{Reconstruct, StorageError};

/// A timeline's view with the end of the LSNs that count in it.
pub(super) struct Level {
    pub(super) timeline: TenantTimelineId,
    pub(super) view: Arc<View>,
    pub(super) end: Lsn,
}

/// Why a piece of blocking work stopped before it was done.
pub(super) enum Stop {
    /// It needs this layer, which is not on local disk.
    Missing(Arc<DiskLayer>),
    /// This layer is not what was written.
    Damaged(Arc<DiskLayer>, StorageError),
    Failed(StorageError),
}

impl Stop {
    /// What an error at a layer means.
    pub(super) fn at<E: Into<StorageError>>(layer: &Arc<DiskLayer>) -> impl Fn(E) -> Stop {
        move |error| match error.into() {
            error if error.is_corruption() => Stop::Damaged(Arc::clone(layer), error),
            error => Stop::Failed(error),
        }
    }
}

/// The layer, open in the session.
pub(super) fn open<'a>(
    session: &'a mut LayerSession,
    layer: &Arc<DiskLayer>,
) -> Result<&'a mut OpenLayer, Stop> {
    session.open(layer).map_err(Stop::at(layer))?.ok_or_else(|| Stop::Missing(Arc::clone(layer)))
}

impl Timeline {
    /// All that is needed to make the value of `key` as of `lsn`.
    pub async fn get_reconstruct(&self, key: Key, lsn: Lsn) -> Result<Reconstruct, StorageError> {
        let mut run = self.get_reconstruct_run(key, 1, lsn).await?;
        Ok(run.pop().unwrap_or_default())
    }

    /// The same for `count` keys that follow each other.
    pub async fn get_reconstruct_run(
        &self,
        first: Key,
        count: u32,
        lsn: Lsn,
    ) -> Result<Vec<Reconstruct>, StorageError> {
        self.read_at(lsn, |levels| self.reconstruct_run(levels, first, count)).await
    }

    /// Reads as of an LSN; once more if a layer of the snapshot was replaced and removed before it was fetched.
    pub(super) async fn read_at<T, R>(
        &self,
        lsn: Lsn,
        read: impl Fn(Vec<Level>) -> R,
    ) -> Result<T, StorageError>
    where
        R: Future<Output = Result<T, StorageError>>,
    {
        match read(self.levels(lsn).await?).await {
            Err(error) if error.is_not_found() => read(self.levels(lsn).await?).await,
            outcome => outcome,
        }
    }

    pub(super) async fn reconstruct_run(
        &self,
        levels: Vec<Level>,
        first: Key,
        count: u32,
    ) -> Result<Vec<Reconstruct>, StorageError> {
        let keys = std::iter::successors(Some(first), Key::next).take(count as usize);
        let mut walks: Vec<(Key, Collector)> = keys.map(|key| (key, Collector::default())).collect();
        if let Some(newest) = levels.first() {
            walks.iter_mut().for_each(|(key, collector)| newest.read_memory(*key, collector, &mut |_, _| {}));
        }
        if walks.iter().any(|(_, collector)| !collector.is_complete()) {
            let keys: Vec<Key> =
                walks.iter().filter(|(_, c)| !c.is_complete()).map(|(key, _)| *key).collect();
            let span = child_span!("read layers", varve.keys = keys.len());
            let reading = self.blocking(levels, move |levels| read_keys(levels, &keys));
            let found = reading.instrument(span).await?;
            let mut found = found.into_iter();
            for (_, collector) in walks.iter_mut().filter(|(_, c)| !c.is_complete()) {
                *collector = found.next().unwrap_or_default();
            }
        }
        Ok(walks.into_iter().map(|(_, collector)| collector.finish()).collect())
    }

    /// The views that a read at `lsn` goes through: this timeline's, then its ancestors'. Of an LSN that nobody may
    /// read any more, since garbage was collected, an error.
    pub(super) async fn levels(&self, lsn: Lsn) -> Result<Vec<Level>, StorageError> {
        // Before the views: should this timeline leave its ancestor meanwhile, it still counts what that one has kept.
        let ancestor = self.ancestor_with(lsn);
        let levels = self.levels_unchecked(lsn).await?;
        // After the views were taken: what is removed from now on, they have.
        ancestor.as_deref().unwrap_or(self).check_kept(lsn)?;
        Ok(levels)
    }

    /// Whose history there is at `lsn`; none if it is this timeline's own.
    pub(super) fn ancestor_with(&self, lsn: Lsn) -> Option<Arc<Timeline>> {
        let found = self.ancestors().take_while(|ancestor| lsn <= ancestor.lsn).last();
        found.map(|ancestor| Arc::clone(&ancestor.timeline))
    }

    /// Whether the history at `lsn`, this timeline's or an ancestor's, is still there.
    pub fn check_readable(&self, lsn: Lsn) -> Result<(), StorageError> {
        self.ancestor_with(lsn).as_deref().unwrap_or(self).check_kept(lsn)
    }

    /// Of its own history there is all from the cutoff on, and what is at each pin.
    pub(super) fn check_kept(&self, lsn: Lsn) -> Result<(), StorageError> {
        let horizon = self.horizon.load();
        if lsn >= horizon.cutoff || horizon.pins.contains(&lsn) {
            return Ok(());
        }
        Err(StorageError::Collected { timeline: self.id, lsn, cutoff: horizon.cutoff })
    }

    pub(super) async fn levels_unchecked(&self, lsn: Lsn) -> Result<Vec<Level>, StorageError> {
        let mut end = lsn.min(Lsn(u64::MAX - 1)) + 1;
        // Before the views.
        let ancestors: Vec<Arc<Ancestor>> = self.ancestors().collect();
        let mut levels = vec![Level { timeline: self.id, view: self.view.load_full(), end }];
        let mut start = self.start_lsn();
        for ancestor in ancestors {
            end = end.min(ancestor.lsn + 1);
            // After a restart the ancestor may have to ingest again what it had when it was branched.
            let (needed, timeout) = (Lsn(end.0 - 1), self.environment.config.ancestor_wait_timeout);
            ancestor.timeline.wait_lsn(needed, timeout).await?;
            let timeline = &ancestor.timeline;
            levels.push(Level { timeline: timeline.id, view: timeline.view.load_full(), end });
            start = timeline.start_lsn();
        }
        if end <= start {
            let timeline = levels.last().map_or(self.id, |level| level.timeline);
            return Err(StorageError::BeforeHistory { timeline, lsn, start });
        }
        Ok(levels)
    }

    /// Runs `work` on a thread for blocking work, again after each layer that it misses, and once after each that is
    /// damaged.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        levels: Vec<Level>,
        work: impl Fn(&[Level]) -> Result<T, Stop> + Send + Sync + 'static,
    ) -> Result<T, StorageError> {
        let (levels, work) = (Arc::new(levels), Arc::new(work));
        let mut replaced: Vec<Arc<DiskLayer>> = Vec::new();
        loop {
            let (levels, work) = (Arc::clone(&levels), Arc::clone(&work));
            match run_blocking(move || work(&levels)).await {
                Ok(result) => return Ok(result),
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::Missing(layer)) => layer.ensure_local(&self.environment).await?,
                Err(Stop::Damaged(layer, error))
                    if replaced.iter().any(|other| Arc::ptr_eq(other, &layer)) =>
                {
                    return Err(error);
                }
                Err(Stop::Damaged(layer, error)) => {
                    layer.replace_damaged(&self.environment, error).await?;
                    replaced.push(layer);
                }
            }
        }
    }
}

/// A layer that a read has looked into.
pub(super) enum Visited<'a> {
    Memory(&'a MemoryLayer),
    /// For these LSNs.
    File(&'a DiskLayer, &'a Range<Lsn>),
}

impl Level {
    /// `watch` is told of each layer, with all that was found so far.
    fn read_memory(
        &self,
        key: Key,
        collector: &mut Collector,
        watch: &mut impl FnMut(Visited<'_>, &Collector),
    ) {
        let frozen = self.view.frozen.iter().rev().map(|frozen| &frozen.layer);
        for layer in [&self.view.open].into_iter().chain(frozen) {
            if collector.is_complete() {
                return;
            }
            layer.visit_newest_first(key, self.end, |lsn, value| collector.take(lsn, value));
            watch(Visited::Memory(layer), collector);
        }
    }

    /// The layer that is missing on local disk, if one is.
    fn read_files(
        &self,
        key: Key,
        collector: &mut Collector,
        session: &mut LayerSession,
        watch: &mut impl FnMut(Visited<'_>, &Collector),
    ) -> Result<(), Stop> {
        let mut end = self.end;
        while !collector.is_complete() {
            let Some(step) = self.view.layers.search(&key, end) else { break };
            end = step.lsns.start;
            read_entries(&step, key, collector, open(session, &step.layer)?)?;
            watch(Visited::File(&step.layer, &step.lsns), collector);
        }
        Ok(())
    }

    /// The same of many keys: the way through the layers is looked up once, and what lies side by side in a file is
    /// read in one go.
    fn read_run(&self, walks: &mut [Walk], session: &mut LayerSession) -> Result<(), Stop> {
        let mut open_keys = walks.iter().filter(|walk| is_open(walk)).map(|(key, _)| *key);
        let Some(first) = open_keys.next() else { return Ok(()) };
        let last = open_keys.next_back().unwrap_or(first);
        let keys = first..last.next().unwrap_or(Key::MAX);
        for descent in self.view.layers.plan(&keys, self.end) {
            let start = walks.partition_point(|(key, _)| *key < descent.keys.start);
            let end = walks.partition_point(|(key, _)| *key < descent.keys.end);
            for step in &descent.steps {
                read_step(step, &mut walks[start..end], session)?;
            }
        }
        Ok(())
    }

    pub(super) fn read(
        &self,
        key: Key,
        collector: &mut Collector,
        session: &mut LayerSession,
        watch: &mut impl FnMut(Visited<'_>, &Collector),
    ) -> Result<(), Stop> {
        self.read_memory(key, collector, watch);
        self.read_files(key, collector, session, watch)
    }
}

/// A key with what was found of it.
type Walk = (Key, Collector);

/// Keys that ascend, all through each layer before the next one.
fn read_keys(levels: &[Level], keys: &[Key]) -> Result<Vec<Collector>, Stop> {
    let mut session = LayerSession::default();
    let mut walks: Vec<Walk> = keys.iter().map(|key| (*key, Collector::default())).collect();
    for level in levels {
        for (key, collector) in &mut walks {
            level.read_memory(*key, collector, &mut |_, _| {});
        }
        match walks.as_mut_slice() {
            [(key, collector)] => level.read_files(*key, collector, &mut session, &mut |_, _| {})?,
            walks => level.read_run(walks, &mut session)?,
        }
    }
    Ok(walks.into_iter().map(|(_, collector)| collector).collect())
}

fn is_open((_, collector): &Walk) -> bool {
    !collector.is_complete()
}

/// What a layer has of one key.
fn read_entries(
    step: &Step<Arc<DiskLayer>>,
    key: Key,
    collector: &mut Collector,
    (reader, cache): &mut OpenLayer,
) -> Result<(), Stop> {
    let take = |entry: &Entry| collector.take(entry.lsn, &entry.value);
    reader.visit_newest_first(&key, step.lsns.clone(), cache, take).map_err(Stop::at(&step.layer))?;
    if step.coverage == Coverage::Image {
        collector.end_of_history();
    }
    Ok(())
}

/// What it has of many, of which some need no more.
fn read_step(
    step: &Step<Arc<DiskLayer>>,
    walks: &mut [Walk],
    session: &mut LayerSession,
) -> Result<(), Stop> {
    let keys: Vec<Key> = walks.iter().filter(|walk| is_open(walk)).map(|(key, _)| *key).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let layer = open(session, &step.layer)?;
    let (reader, cache) = &mut *layer;
    reader.read_ahead(&keys, step.lsns.end, cache).map_err(Stop::at(&step.layer))?;
    for (key, collector) in walks.iter_mut().filter(|walk| is_open(walk)) {
        read_entries(step, *key, collector, layer)?;
    }
    layer.1.clear();
    Ok(())
}
