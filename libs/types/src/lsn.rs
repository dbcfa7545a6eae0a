//! [`Lsn`]: a position in a timeline's WAL.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A byte position in the WAL of a timeline ("log sequence number"), counted as PostgreSQL counts it.
///
/// Text form is PostgreSQL's, `16/B374D848`: the high and the low 32 bits in hex. Zero is PostgreSQL's
/// `InvalidXLogRecPtr` and means "none".
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    pub const INVALID: Lsn = Lsn(0);
    pub const MAX: Lsn = Lsn(u64::MAX);

    pub const fn is_valid(self) -> bool {
        self.0 != 0
    }

    /// The next multiple of 8 bytes: WAL records begin at PostgreSQL's `MAXALIGN` boundaries.
    pub const fn align(self) -> Lsn {
        Lsn((self.0 + 7) & !7)
    }

    pub const fn is_aligned(self) -> bool {
        self.0.is_multiple_of(8)
    }

    /// Bytes from the start of the segment of `segment_size` bytes that holds this position.
    pub const fn segment_offset(self, segment_size: u64) -> u64 {
        self.0 % segment_size
    }

    /// Where the segment that holds this position begins.
    pub const fn segment_start(self, segment_size: u64) -> Lsn {
        Lsn(self.0 - self.segment_offset(segment_size))
    }

    /// Number of the segment that holds the byte at this position.
    pub const fn segment_number(self, segment_size: u64) -> u64 {
        self.0 / segment_size
    }

    /// Bytes from the start of the WAL page (8192 bytes) that holds this position.
    pub const fn page_offset(self) -> u64 {
        self.0 % crate::BLCKSZ as u64
    }

    /// Distance in bytes from `earlier` to this position; zero if `earlier` is not earlier.
    pub const fn saturating_distance(self, earlier: Lsn) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for Lsn {
    type Output = Lsn;

    fn add(self, bytes: u64) -> Lsn {
        Lsn(self.0 + bytes)
    }
}

impl AddAssign<u64> for Lsn {
    fn add_assign(&mut self, bytes: u64) {
        self.0 += bytes;
    }
}

impl Sub<Lsn> for Lsn {
    type Output = u64;

    /// Bytes between two positions. A negative distance is a broken invariant.
    fn sub(self, earlier: Lsn) -> u64 {
        self.0.checked_sub(earlier.0).expect("LSN distance must not be negative")
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not an LSN: expected two hexadecimal numbers with a slash, as in 0/16B9188")]
pub struct ParseLsnError(pub String);

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Lsn, ParseLsnError> {
        let error = || ParseLsnError(text.to_owned());
        let half = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
            if plain { u32::from_str_radix(digits, 16).map_err(|_| error()) } else { Err(error()) }
        };
        let (high, low) = text.split_once('/').ok_or_else(error)?;
        Ok(Lsn(u64::from(half(high)?) << 32 | u64::from(half(low)?)))
    }
}

impl Serialize for Lsn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lsn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Lsn, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_is_postgres() {
        let lsn: Lsn = "16/B374D848".parse().unwrap();
        assert_eq!(lsn, Lsn(0x16_B374_D848));
        assert_eq!(lsn.to_string(), "16/B374D848");
        for bad in ["", "16", "/", "16/", "/16", "G/0", "100000000/0", "+1/0", "0/ 1"] {
            assert_eq!(bad.parse::<Lsn>(), Err(ParseLsnError(bad.to_owned())));
        }
    }

    #[test]
    fn aligns_up_to_eight() {
        assert_eq!(Lsn(0x10).align(), Lsn(0x10));
        assert_eq!(Lsn(0x11).align(), Lsn(0x18));
    }
}
