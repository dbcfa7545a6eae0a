//! durable_fs
