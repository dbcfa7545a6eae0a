//! Which layers a timeline consists of, for people.

use layer_map::Extent;
use types::Lsn;

use super::{Timeline, extent};

/// A layer file.
#[derive(Clone, Debug)]
pub struct ListedFile {
    pub file: String,
    pub bytes: u64,
    pub extent: Extent,
    pub is_local: bool,
    pub is_uploaded: bool,
}

/// A layer in memory: all keys, from `start` on.
#[derive(Clone, Copy, Debug)]
pub struct ListedMemory {
    pub start: Lsn,
    /// None of the open one.
    pub end: Option<Lsn>,
    pub bytes: u64,
}

/// All of them, of one moment.
#[derive(Clone, Debug)]
pub struct LayerList {
    /// Everything up to here is in files.
    pub durable: Lsn,
    pub files: Vec<ListedFile>,
    /// Oldest first; the last one is open.
    pub memory: Vec<ListedMemory>,
}

impl Timeline {
    pub fn layers(&self) -> LayerList {
        let view = self.view.load_full();
        let frozen = view.frozen.iter().map(|frozen| ListedMemory {
            start: frozen.layer.base + 1,
            end: Some(frozen.end.last + 1),
            bytes: frozen.layer.bytes(),
        });
        let open = ListedMemory { start: view.open.base + 1, end: None, bytes: view.open.bytes() };
        let files = view.layers.iter().map(|(_, layer)| ListedFile {
            file: layer.file_name.to_string(),
            bytes: layer.file_size,
            extent: extent(&layer.identity.name),
            is_local: layer.is_local(),
            is_uploaded: layer.is_uploaded(),
        });
        LayerList {
            durable: view.durable.last,
            files: files.collect(),
            memory: frozen.chain([open]).collect(),
        }
    }
}
