//! Layers: parts of a timeline's key × LSN plane, in memory and on disk.

mod collector;
mod disk;
mod file_name;
mod memory;
mod merge;
mod open_files;
mod pruner;
mod shortener;
mod writer;

pub(super) use collector::{Collector, Found};
pub(super) use disk::{DAMAGE_LASTS, DiskLayer, Held, LayerSession, OpenLayer};
pub(super) use file_name::LayerFileName;
pub(super) use memory::MemoryLayer;
pub(super) use merge::Merge;
pub(super) use open_files::OpenFiles;
pub(super) use pruner::Pruner;
pub(super) use shortener::{Images, Shortener, Spacing};
pub(super) use writer::{
    DeltaLayersWriter, EntrySink, ImageLayersWriter, Written, is_temporary, write_delta_layer,
};
