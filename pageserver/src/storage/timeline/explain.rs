//! What a read of one key goes through, for people.

use std::fmt;
use std::ops::Range;

use types::{Key, Lsn, TenantTimelineId};

use super::Timeline;
use super::read::{Level, Stop, Visited};
use crate::storage::StorageError;
use crate::storage::layers::{Collector, Found, LayerSession};

/// A layer that a read looks into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VisitedLayer {
    /// The read's own, or an ancestor.
    pub timeline: TenantTimelineId,
    /// Name of its file. None: it is in memory.
    pub file: Option<String>,
    /// Where it is looked.
    pub lsns: Range<Lsn>,
    /// What was found there.
    pub images: usize,
    pub changes: usize,
}

/// A read from its first layer to its last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadPlan {
    pub key: Key,
    pub lsn: Lsn,
    /// From new to old.
    pub layers: Vec<VisitedLayer>,
    /// Of the image that changes are applied to.
    pub image_lsn: Option<Lsn>,
    /// Changes that are applied.
    pub changes: usize,
    /// Their bytes.
    pub change_bytes: usize,
}

impl Timeline {
    /// Reads, and tells how. Layers that are not on the local disk are fetched.
    pub async fn explain_read(&self, key: Key, lsn: Lsn) -> Result<ReadPlan, StorageError> {
        self.read_at(lsn, |levels| self.blocking(levels, move |levels| explain(levels, key, lsn))).await
    }
}

fn explain(levels: &[Level], key: Key, lsn: Lsn) -> Result<ReadPlan, Stop> {
    let (mut session, mut collector) = (LayerSession::default(), Collector::default());
    let (mut layers, mut before) = (Vec::new(), Found::default());
    for level in levels {
        let mut watch = |visited: Visited<'_>, collector: &Collector| {
            let (file, lsns) = match visited {
                Visited::Memory(layer) => (None, layer.base + 1..level.end),
                Visited::File(layer, lsns) => (Some(layer.file_name.to_string()), lsns.clone()),
            };
            let now = collector.found();
            let (images, changes) = (now.images - before.images, now.changes - before.changes);
            before = now;
            layers.push(VisitedLayer { timeline: level.timeline, file, lsns, images, changes });
        };
        level.read(key, &mut collector, &mut session, &mut watch)?;
    }
    let found = collector.finish();
    Ok(ReadPlan {
        key,
        lsn,
        layers,
        image_lsn: found.image.as_ref().map(|(lsn, _)| *lsn),
        changes: found.deltas.len(),
        change_bytes: found.deltas.iter().map(|(_, change)| change.len()).sum(),
    })
}

/// On one line, for a log.
impl fmt::Display for ReadPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} changes of {} bytes", self.changes, self.change_bytes)?;
        match self.image_lsn {
            Some(lsn) => write!(f, " on an image at {lsn}")?,
            None => write!(f, " without an image")?,
        }
        write!(f, ", from {} layers:", self.layers.len())?;
        for layer in &self.layers {
            let file = layer.file.as_deref().unwrap_or("memory");
            write!(f, " {file} ({} images, {} changes)", layer.images, layer.changes)?;
        }
        Ok(())
    }
}
