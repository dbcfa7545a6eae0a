//! layer_format
