//! remote_storage
