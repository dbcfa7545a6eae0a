//! `GET /v1/tenant/{t}/timeline/{tl}/layer`: what a timeline consists of, as rectangles of its key × LSN plane.

use serde::{Deserialize, Serialize};
use types::{Key, Lsn};
use utoipa::ToSchema;

/// The layers of one timeline at a moment, without its ancestors'.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LayerMapInfo {
    /// Everything up to here is in the layer files.
    pub disk_consistent_lsn: Lsn,
    pub last_record_lsn: Lsn,
    /// From the oldest to the one that takes what comes next. Any key may have changes in each of them.
    pub in_memory_layers: Vec<MemoryLayerInfo>,
    /// In the order of the LSNs at which they begin.
    pub historic_layers: Vec<LayerInfo>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemoryLayerInfo {
    pub kind: MemoryLayerKind,
    pub lsn_start: Lsn,
    /// Of a frozen one: after its last change.
    pub lsn_end: Option<Lsn>,
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum MemoryLayerKind {
    /// It takes what comes next.
    Open,
    /// It waits to be written.
    Frozen,
}

/// A layer file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LayerInfo {
    pub kind: LayerKind,
    pub layer_file_name: String,
    pub layer_file_size: u64,
    pub key_start: Key,
    /// After the last one.
    pub key_end: Key,
    pub lsn_start: Lsn,
    /// After the last one; an image layer is one LSN wide.
    pub lsn_end: Lsn,
    /// It is on the pageserver's disk, and need not be fetched to be read.
    pub local: bool,
    /// It is in object storage.
    pub uploaded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum LayerKind {
    /// All changes of its rectangle.
    Delta,
    /// Whole values as of one LSN.
    Image,
}
