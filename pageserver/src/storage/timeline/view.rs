//! The snapshot of a timeline's layers that reads start from. Immutable but for the open layer's contents.

use std::sync::Arc;

use layer_format::LayerName;
use layer_map::{Coverage, Extent, LayerMap};
use prometheus::IntGauge;
use types::Lsn;

use crate::storage::compaction;
use crate::storage::layers::{DiskLayer, MemoryLayer};

/// A place between two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// End of the record before it.
    pub(super) last: Lsn,
    /// Start of that record.
    pub(super) prev: Lsn,
}

/// A layer that takes no more entries and waits to be written.
pub(super) struct FrozenLayer {
    pub(super) layer: Arc<MemoryLayer>,
    /// Its entries lie above the layer's base and not above this.
    pub(super) end: Position,
}

/// What a timeline consists of at a moment. From new to old: open, frozen from the last to the first, layers.
#[derive(Clone)]
pub(super) struct View {
    pub(super) open: Arc<MemoryLayer>,
    /// Oldest first.
    pub(super) frozen: Vec<Arc<FrozenLayer>>,
    pub(super) layers: LayerMap<Arc<DiskLayer>>,
    /// Everything up to here is in `layers`.
    pub(super) durable: Position,
    /// How often layers took the place of others since the timeline was opened.
    pub(super) changes: u64,
}

impl View {
    pub(super) fn new(durable: Position, layers: LayerMap<Arc<DiskLayer>>, gauge: IntGauge) -> Self {
        let open = Arc::new(MemoryLayer::new(durable.last, gauge));
        Self { open, frozen: Vec::new(), layers, durable, changes: 0 }
    }

    /// Each layer begins where the one before it ends: nothing is lost between them, nothing is there twice.
    pub(super) fn assert_invariants(&self) {
        let mut end = self.durable.last;
        for frozen in &self.frozen {
            assert_eq!(frozen.layer.base, end, "frozen layers must follow each other");
            end = frozen.end.last;
        }
        assert_eq!(self.open.base, end, "the open layer must follow the frozen ones");
    }
}

impl compaction::Layer for Arc<DiskLayer> {
    fn extent(&self) -> Extent {
        extent(&self.identity.name)
    }

    fn bytes(&self) -> u64 {
        self.file_size
    }

    fn entries(&self) -> Option<u64> {
        self.entries
    }
}

/// The rectangle that a layer file covers.
pub(in crate::storage) fn extent(name: &LayerName) -> Extent {
    let coverage = if name.is_image() { Coverage::Image } else { Coverage::Delta };
    Extent { keys: name.keys.clone(), lsns: name.lsn_range(), coverage }
}
