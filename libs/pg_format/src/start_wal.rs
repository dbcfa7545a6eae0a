//! start_wal
