//! Drawings as SVG. Each is also a table somewhere on its page: who cannot see them misses nothing.

pub mod layers;
mod scale;
pub mod tree;
