//! Layers: parts of a timeline's key × LSN plane, in memory and on disk.

mod collector;
mod disk;
mod file_name;
mod memory;
mod open_files;
mod writer;

pub(super) use collector::Collector;
pub(super) use disk::{DiskLayer, LayerSession};
pub(super) use file_name::LayerFileName;
pub(super) use memory::MemoryLayer;
pub(super) use open_files::OpenFiles;
pub(super) use writer::{ImageLayersWriter, is_temporary, write_delta_layer};
