//! wal_decoder
