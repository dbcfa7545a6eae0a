//! PostgreSQL 17: the numbers that tell its files from other versions'.

/// `XLOG_PAGE_MAGIC`
pub const WAL_PAGE_MAGIC: u16 = 0xd116;
/// `PG_CONTROL_VERSION`
pub const CONTROL_VERSION: u32 = 1700;
/// `CATALOG_VERSION_NO`
pub const CATALOG_VERSION: u32 = 202406281;
