//! CRC-32C (Castagnoli), which PostgreSQL uses for WAL records, pg_control and two-phase files.

/// Checksum of one run of bytes.
pub fn crc32c(bytes: &[u8]) -> u32 {
    ::crc32c::crc32c(bytes)
}

/// Checksum of what `crc` is the checksum of, followed by `bytes`.
pub fn crc32c_append(crc: u32, bytes: &[u8]) -> u32 {
    ::crc32c::crc32c_append(crc, bytes)
}
