//! PostgreSQL 15: the numbers that tell its files from other versions'.

/// `XLOG_PAGE_MAGIC`
pub const WAL_PAGE_MAGIC: u16 = 0xd110;
/// `PG_CONTROL_VERSION`
pub const CONTROL_VERSION: u32 = 1300;
/// `CATALOG_VERSION_NO`
pub const CATALOG_VERSION: u32 = 202209061;
