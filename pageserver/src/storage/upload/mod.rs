//! What goes to remote storage, in which form and in which order.

mod index_part;
mod plan;

pub(super) use index_part::{INDEX_STEM, IndexLayer, IndexPart};
pub(super) use plan::{Said, plan};
