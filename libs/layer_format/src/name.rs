//! Names of layer files: which part of the key × LSN plane a layer covers.
//!
//! ```text
//! image  KEY-KEY__LSN        first key, key after the last, the LSN of the values
//! delta  KEY-KEY__LSN-LSN    … first LSN, LSN after the last
//! ```
//! Keys are 36 hexadecimal digits, LSNs 16. The same shapes as Neon's, so tools that sort them keep working.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use types::{KeyRange, Lsn};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LayerLsns {
    /// An image layer: all values as of this LSN.
    Image { at: Lsn },
    /// A delta layer: all changes from `start` up to but not including `end`.
    Delta { start: Lsn, end: Lsn },
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LayerName {
    pub keys: KeyRange,
    pub lsns: LayerLsns,
}

impl LayerName {
    pub fn image(keys: KeyRange, at: Lsn) -> Self {
        Self { keys, lsns: LayerLsns::Image { at } }
    }

    pub fn delta(keys: KeyRange, lsns: Range<Lsn>) -> Self {
        Self { keys, lsns: LayerLsns::Delta { start: lsns.start, end: lsns.end } }
    }

    pub fn is_image(&self) -> bool {
        match self.lsns {
            LayerLsns::Image { .. } => true,
            LayerLsns::Delta { .. } => false,
        }
    }

    /// The LSNs of its entries. An image layer's is one LSN wide.
    pub fn lsn_range(&self) -> Range<Lsn> {
        match self.lsns {
            LayerLsns::Image { at } => at..at + 1,
            LayerLsns::Delta { start, end } => start..end,
        }
    }
}

impl fmt::Display for LayerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}__", self.keys.start, self.keys.end)?;
        match self.lsns {
            LayerLsns::Image { at } => write!(f, "{:016X}", at.0),
            LayerLsns::Delta { start, end } => write!(f, "{:016X}-{:016X}", start.0, end.0),
        }
    }
}

impl fmt::Debug for LayerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not the name of a layer")]
pub struct ParseLayerNameError(pub String);

impl FromStr for LayerName {
    type Err = ParseLayerNameError;

    fn from_str(text: &str) -> Result<Self, ParseLayerNameError> {
        let parsed = parse(text).ok_or_else(|| ParseLayerNameError(text.to_owned()))?;
        // One layer has one name: no lower-case digits, no signs, no empty ranges.
        let empty = parsed.keys.is_empty() || parsed.lsn_range().is_empty();
        if empty || parsed.to_string() != text {
            Err(ParseLayerNameError(text.to_owned()))
        } else {
            Ok(parsed)
        }
    }
}

fn parse(text: &str) -> Option<LayerName> {
    let lsn = |digits: &str| u64::from_str_radix(digits, 16).ok().filter(|lsn| *lsn < u64::MAX).map(Lsn);
    let (keys, lsns) = text.split_once("__")?;
    let (start, end) = keys.split_once('-')?;
    let keys = start.parse().ok()?..end.parse().ok()?;
    Some(match lsns.split_once('-') {
        Some((start, end)) => LayerName::delta(keys, lsn(start)?..lsn(end)?),
        None => LayerName::image(keys, lsn(lsns)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Key;

    #[test]
    fn names_round_trip() {
        for name in [
            LayerName::delta(Key::MIN..Key::MAX, Lsn(0x16A_0001)..Lsn(0x16B_0001)),
            LayerName::image(Key::checkpoint()..Key::MAX, Lsn(0x16A_0000)),
        ] {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
    }

    #[test]
    fn only_whole_names_are_names() {
        let good = LayerName::delta(Key::MIN..Key::MAX, Lsn(0xAB)..Lsn(0xAC)).to_string();
        for bad in [
            good.to_lowercase(),
            format!("{good}-00000001"),
            format!("{good}.temp"),
            good.replace("__", "_"),
            LayerName::delta(Key::MAX..Key::MIN, Lsn(1)..Lsn(2)).to_string(),
            LayerName::delta(Key::MIN..Key::MAX, Lsn(2)..Lsn(2)).to_string(),
            format!("{}FFFFFFFFFFFFFFFF", &good[..good.len() - 33]),
        ] {
            assert!(bad.parse::<LayerName>().is_err(), "{bad}");
        }
    }
}
