//! layer_map
