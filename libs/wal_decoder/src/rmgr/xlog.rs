//! x

pub const XLOG_SWITCH: u8 = 0x40;
pub const XLOG_OVERWRITE_CONTRECORD: u8 = 0xd0;
