//! Compaction: does what `compaction` has chosen. New files are written beside the old ones and take their place in
//! one step; the old ones go when no reader has them and no index in remote storage names them.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use durable_fs::run_blocking;
use layer_format::LayerReader;
use layer_map::{Coverage, Descent, Extent, Step};
use remote_storage::ObjectKey;
use telemetry::timeline_span;
use tokio::runtime::Handle;
use tokio::sync::SemaphorePermit;
use tracing::Instrument;
use types::{Key, KeyRange, Lsn};

use super::read::Level;
use super::view::View;
use super::{Obsolete, Timeline, extent};
use crate::storage::compaction::{Job, Limits, LiveKeys};
use crate::storage::layers::{
    DeltaLayersWriter, DiskLayer, EntrySink, Held, ImageLayersWriter, Images, Merge, Pruner, Shortener,
    Written,
};
use crate::storage::{Reconstruct, StorageError, compaction};

/// Entries between two looks at whether the timeline was closed.
const ENTRIES_PER_LOOK: usize = 4096;

pub(super) type FileDescent = Descent<Arc<DiskLayer>>;
type Reader = Arc<LayerReader<File>>;

/// What compaction has done, for who asked for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    pub merges: usize,
    pub images: usize,
}

impl Timeline {
    /// Does all that there is to do now. Other timelines get their turn after each job.
    pub async fn compact(self: &Arc<Self>) -> Result<Compacted, StorageError> {
        let mut done = Compacted::default();
        loop {
            let _turn = self.turn().await?;
            let _compacting = self.compacting.lock().await;
            let Some(job) = self.next_job() else { return Ok(done) };
            let kind = match &job {
                Job::Merge(_) => {
                    done.merges += 1;
                    "merge"
                }
                Job::Images { .. } => {
                    done.images += 1;
                    "images"
                }
            };
            let span = timeline_span!(None, self.id, "compaction", varve.job = kind);
            self.run_job(job).instrument(span).await?;
        }
    }

    /// Waits until this timeline's heavy work may go on.
    pub(super) async fn turn(&self) -> Result<SemaphorePermit<'_>, StorageError> {
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Err(StorageError::ShuttingDown),
            turn = self.environment.background.acquire() => turn.map_err(|_| StorageError::ShuttingDown),
        }
    }

    fn next_job(&self) -> Option<Job> {
        let view = self.view.load();
        let unmakeable = self.unmakeable.lock().expect("no holder panics");
        let limits = self.limits();
        compaction::next_job(&view.layers, view.durable.last, &unmakeable, &limits)
    }

    pub(super) fn limits(&self) -> Limits {
        self.environment.config.limits(self.environment.redo.is_some())
    }

    pub(super) async fn run_job(self: &Arc<Self>, job: Job) -> Result<(), StorageError> {
        let timer = self.environment.metrics.compaction_seconds.start_timer();
        let mut replaced: Vec<Arc<DiskLayer>> = Vec::new();
        while let Err(error) = self.try_job(&job).await {
            let is_new = |layer: &Arc<DiskLayer>| !replaced.iter().any(|other| Arc::ptr_eq(other, layer));
            let Some(layer) = self.damaged_layer(&error).filter(is_new) else { return Err(error) };
            layer.replace_damaged(&self.environment, error).await?;
            replaced.push(layer);
        }
        timer.observe_duration();
        Ok(())
    }

    async fn try_job(self: &Arc<Self>, job: &Job) -> Result<(), StorageError> {
        match job {
            Job::Merge(extents) => self.merge(extents).await,
            Job::Images { keys, at } => self.make_images(keys.clone(), *at).await,
        }
    }

    /// The layer, here or in an ancestor, that an error says is not what was written.
    fn damaged_layer(&self, error: &StorageError) -> Option<Arc<DiskLayer>> {
        let StorageError::Layer(error) = error else { return None };
        let file = error.damaged_file()?;
        let ancestors = self.ancestors().map(|ancestor| ancestor.timeline.view.load_full());
        [self.view.load_full()]
            .into_iter()
            .chain(ancestors)
            .flat_map(|view| view.layers.iter().map(|(_, layer)| Arc::clone(layer)).collect::<Vec<_>>())
            .find(|layer| layer.path.display().to_string() == file)
    }

    /// Of delta layers that hold everything of their LSNs, layers that lie beside each other.
    async fn merge(self: &Arc<Self>, extents: &[Extent]) -> Result<(), StorageError> {
        let view = self.view.load_full();
        let mut layers: Vec<Arc<DiskLayer>> = view
            .layers
            .iter()
            .filter(|(extent, _)| extents.contains(extent))
            .map(|(_, layer)| Arc::clone(layer))
            .collect();
        layers.sort_by_key(|layer| layer.identity.name.lsn_range().start);
        let ranges = layers.iter().map(|layer| layer.identity.name.lsn_range());
        let lsns = ranges
            .reduce(|one, other| one.start.min(other.start)..one.end.max(other.end))
            .unwrap_or(Lsn::INVALID..Lsn::INVALID);
        let reads = self.reads_of(&lsns).await;
        let _held = self.hold(&layers).await?;
        let timeline = Arc::clone(self);
        let inputs = layers.clone();
        let written = run_blocking(move || timeline.write_merged(&inputs, lsns, reads)).await?;
        tracing::info!(
            timeline = %self.id,
            layers = layers.len(),
            bytes = layers.iter().map(|layer| layer.file_size).sum::<u64>(),
            into = written.len(),
            into_bytes = written.iter().map(|layer| layer.file_size).sum::<u64>(),
            "merged layers"
        );
        self.replace_layers(extents, written.keep())
    }

    /// What a job goes through stays on the local disk until it is done.
    async fn hold(&self, layers: &[Arc<DiskLayer>]) -> Result<Vec<Held>, StorageError> {
        let mut held = Vec::with_capacity(layers.len());
        for layer in layers {
            held.push(layer.hold_local(&self.environment).await?);
            self.environment.metrics.compaction_bytes.inc_by(layer.file_size);
        }
        Ok(held)
    }

    fn write_merged(
        self: &Arc<Self>,
        layers: &[Arc<DiskLayer>],
        lsns: Range<Lsn>,
        reads: Vec<LiveKeys>,
    ) -> Result<Written, StorageError> {
        let readers: Vec<Reader> = layers.iter().map(DiskLayer::local_reader).collect::<Result<_, _>>()?;
        let writer =
            DeltaLayersWriter::new(&self.environment, self.id, self.ownership.generation, lsns.clone());
        let mut writer = Pruner::new(writer, reads);
        let spacing = self.environment.config.merged_spacing();
        let makes_images = self.environment.redo.is_some();
        let images = TimelineImages::new(self);
        let inputs = readers.iter().map(|reader| (&**reader, lsns.clone()));
        let entries = Merge::new(&(Key::MIN..Key::MAX), inputs);
        let pour = |sink: &mut dyn EntrySink| {
            for (number, entry) in entries.enumerate() {
                self.look_whether_closed(number)?;
                let entry = entry?;
                sink.put(entry.key, entry.lsn, &entry.value)?;
            }
            Ok::<_, StorageError>(())
        };
        if makes_images {
            let mut shortener = Shortener::new(writer, &images, spacing);
            pour(&mut shortener)?;
            writer = shortener.finish()?;
        } else {
            pour(&mut writer)?;
        }
        let (writer, dropped) = writer.finish()?;
        self.environment.metrics.dropped_versions.inc_by(dropped);
        writer.finish()
    }

    fn look_whether_closed(&self, number: usize) -> Result<(), StorageError> {
        if number.is_multiple_of(ENTRIES_PER_LOOK) && self.closed.is_cancelled() {
            return Err(StorageError::ShuttingDown);
        }
        Ok(())
    }

    /// The values of all keys of a range at an LSN up to which layers hold everything.
    async fn make_images(self: &Arc<Self>, keys: KeyRange, at: Lsn) -> Result<(), StorageError> {
        let live = self.live_for_images(&keys, at).await?;
        let levels = self.levels_for_images(at).await?;
        let mut descents = descend(&levels, &keys);
        // What nobody reads need not be fetched.
        descents.retain(|descent| live.meet(&descent.keys));
        let steps = descents.iter().flat_map(|descent| &descent.steps);
        let layers: BTreeMap<_, _> = steps.map(|step| (&step.layer.path, Arc::clone(&step.layer))).collect();
        let _held = self.hold(&layers.into_values().collect::<Vec<_>>()).await?;
        let timeline = Arc::clone(self);
        let range = keys.clone();
        let written = run_blocking(move || timeline.write_images(range, &live, &descents)).await?;
        tracing::info!(
            timeline = %self.id,
            lsn = %at,
            layers = written.len(),
            bytes = written.iter().map(|layer| layer.file_size).sum::<u64>(),
            "made images"
        );
        self.replace_layers(&[], written.keep())
    }

    /// Of the ancestors what they had when they were branched must be in files.
    pub(super) async fn levels_for_images(&self, at: Lsn) -> Result<Vec<Level>, StorageError> {
        for (ancestor, needed) in self.ancestors_for(at).collect::<Vec<_>>() {
            ancestor.timeline.ensure_durable(needed).await?;
        }
        self.levels_unchecked(at).await
    }

    fn write_images(
        self: &Arc<Self>,
        keys: KeyRange,
        live: &LiveKeys,
        descents: &[FileDescent],
    ) -> Result<Written, StorageError> {
        let generation = self.ownership.generation;
        let mut writer = ImageLayersWriter::create(&self.environment, self.id, generation, keys, live.at)?;
        let mut number = 0;
        for FileDescent { keys, steps } in descents {
            let open =
                |step: &Step<Arc<DiskLayer>>| step.layer.local_reader().map(|r| (r, step.lsns.clone()));
            // From old to new.
            let readers: Vec<_> = steps.iter().rev().map(open).collect::<Result<_, _>>()?;
            let inputs = readers.iter().map(|(reader, lsns)| (&**reader, lsns.clone()));
            let mut current: Option<(Key, Reconstruct)> = None;
            for entry in Merge::new(keys, inputs) {
                self.look_whether_closed(number)?;
                number += 1;
                let entry = entry?;
                if current.as_ref().is_some_and(|(key, _)| *key != entry.key) {
                    self.put_value(&mut writer, current.take())?;
                }
                if !live.contain(entry.key) {
                    continue;
                }
                let (_, found) = current.get_or_insert_with(|| (entry.key, Reconstruct::default()));
                found.add(entry.lsn, entry.value);
            }
            self.put_value(&mut writer, current)?;
        }
        writer.finish()
    }

    fn put_value(
        &self,
        writer: &mut ImageLayersWriter,
        found: Option<(Key, Reconstruct)>,
    ) -> Result<(), StorageError> {
        let Some((key, found)) = found else { return Ok(()) };
        let value = match (found.deltas.is_empty(), found.image.as_ref()) {
            (true, Some((_, image))) => Some(image.clone()),
            _ => self.environment.redo.as_ref().and_then(|redo| redo.value_of(&self.metadata, key, &found)),
        };
        match value {
            Some(value) => writer.put(key, value),
            None => {
                tracing::warn!(timeline = %self.id, ?key, "no image of a key: its value cannot be made");
                self.unmakeable.lock().expect("no holder panics").insert(key);
                writer.leave_out(key)
            }
        }
    }

    /// In one step: a reader sees the old layers or the new ones.
    pub(super) fn replace_layers(
        &self,
        remove: &[Extent],
        written: Vec<DiskLayer>,
    ) -> Result<(), StorageError> {
        let written: Vec<Arc<DiskLayer>> = written.into_iter().map(Arc::new).collect();
        let view = self.view.load_full();
        let taken = |layer: &&Arc<DiskLayer>| {
            view.layers.contains(&extent(&layer.identity.name)) || self.is_obsolete(&layer.remote_key)
        };
        if let Some(layer) = written.iter().find(taken) {
            // Neither its file nor its object may ever take the place of another's.
            return Err(StorageError::LayerExists { timeline: self.id, layer: layer.file_name.to_string() });
        }
        let mut removed = Vec::new();
        self.change_view(|view| {
            removed =
                view.layers.iter().filter(|(e, _)| remove.contains(e)).map(|(_, l)| Arc::clone(l)).collect();
            let add = written.iter().map(|layer| (extent(&layer.identity.name), Arc::clone(layer)));
            View { layers: view.layers.with_changes(remove, add), changes: view.changes + 1, ..view.clone() }
        });
        let changes = self.view.load().changes;
        let mut obsolete = self.obsolete.lock().expect("no holder panics");
        for layer in removed {
            layer.set_obsolete();
            obsolete.push(Obsolete { change: changes, key: layer.remote_key.clone(), is_orphan: false });
        }
        Ok(())
    }

    fn is_obsolete(&self, key: &ObjectKey) -> bool {
        let obsolete = self.obsolete.lock().expect("no holder panics");
        obsolete.iter().any(|object| !object.is_orphan && object.key == *key)
    }
}

/// How to read all keys of a range: through this timeline's files, then its ancestors'.
pub(super) fn descend(levels: &[Level], keys: &KeyRange) -> Vec<FileDescent> {
    let Some((level, ancestors)) = levels.split_first() else {
        return vec![Descent { keys: keys.clone(), steps: Vec::new() }];
    };
    let mut descents = Vec::new();
    for descent in level.view.layers.plan(keys, level.end) {
        if ends_in_images(&descent) {
            descents.push(descent);
            continue;
        }
        for below in descend(ancestors, &descent.keys) {
            let steps = descent.steps.iter().cloned().chain(below.steps).collect();
            descents.push(Descent { keys: below.keys, steps });
        }
    }
    descents
}

/// No read of these keys goes deeper.
pub(super) fn ends_in_images<L>(descent: &Descent<L>) -> bool {
    descent.steps.last().is_some_and(|step| step.coverage == Coverage::Image)
}

/// Images for the changes of a layer that is being written: values from the layers below it, and redo.
pub(super) struct TimelineImages<'a> {
    timeline: &'a Arc<Timeline>,
    runtime: Handle,
}

impl<'a> TimelineImages<'a> {
    /// To be made and used on a thread for blocking work.
    pub(super) fn new(timeline: &'a Arc<Timeline>) -> Self {
        Self { timeline, runtime: Handle::current() }
    }
}

impl Images for TimelineImages<'_> {
    fn floor(&self, key: Key, lsn: Lsn) -> Option<Lsn> {
        self.timeline.view.load().layers.image(&key, lsn + 1).map(|extent| extent.lsns.start)
    }

    fn below(&self, key: Key, lsn: Lsn) -> Option<Reconstruct> {
        let timeline = self.timeline;
        let read = async {
            let levels = timeline.levels_unchecked(lsn).await?;
            timeline.reconstruct_run(levels, key, 1).await
        };
        match self.runtime.block_on(read) {
            Ok(mut run) => Some(run.pop().unwrap_or_default()),
            Err(error) => {
                tracing::warn!(timeline = %timeline.id, ?key, %lsn, %error, "no image: the history below cannot be read");
                None
            }
        }
    }

    fn make(&self, key: Key, found: &Reconstruct) -> Option<Bytes> {
        let redo = self.timeline.environment.redo.as_ref()?;
        redo.value_of(&self.timeline.metadata, key, found)
    }
}
