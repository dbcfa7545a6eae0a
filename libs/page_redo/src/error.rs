//! What can go wrong when a change is applied, and how it is told.
//!
//! Redo functions return a [`Fault`]: only what is wrong. [`crate::apply`] adds where: a [`RedoError`].

use std::fmt;

use types::{Lsn, RelTag};

use crate::rmgr;

/// What is wrong, without where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The record contradicts itself or ends too early.
    Malformed(&'static str),
    /// A record that this code does not know how to apply (yet).
    Unsupported(&'static str),
    /// The page is not what the record expects to find.
    PageState(&'static str),
}

/// Where it went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub rmgr: &'static str,
    /// High four bits of the record's `xl_info`; the kind of change for changes of our own.
    pub opcode: u8,
    pub lsn: Lsn,
    /// Unknown for a change that could not be decoded, and for pages of SLRUs.
    pub block: Option<(RelTag, u32)>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} record with opcode {:#04X} at {}", self.rmgr, self.opcode, self.lsn)?;
        match self.block {
            Some((rel, block)) => write!(f, ", relation {rel} block {block}"),
            None => Ok(()),
        }
    }
}

/// A change that was not applied. The page it was applied to may be half changed: throw it away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedoError {
    #[error("malformed {place}: {what}")]
    Malformed { place: Box<Place>, what: &'static str },
    #[error("cannot apply {place}: {what}")]
    Unsupported { place: Box<Place>, what: &'static str },
    #[error("page does not fit {place}: {what}")]
    PageState { place: Box<Place>, what: &'static str },
}

impl RedoError {
    pub fn new(fault: Fault, place: Place) -> RedoError {
        let place = Box::new(place);
        match fault {
            Fault::Malformed(what) => RedoError::Malformed { place, what },
            Fault::Unsupported(what) => RedoError::Unsupported { place, what },
            Fault::PageState(what) => RedoError::PageState { place, what },
        }
    }

    /// For bytes that are not even a change: nothing is known of their place.
    pub(crate) fn undecodable(fault: Fault) -> RedoError {
        RedoError::new(fault, Place { rmgr: rmgr::NATIVE, opcode: 0, lsn: Lsn::INVALID, block: None })
    }

    pub fn place(&self) -> &Place {
        match self {
            RedoError::Malformed { place, .. }
            | RedoError::Unsupported { place, .. }
            | RedoError::PageState { place, .. } => place,
        }
    }

    /// The record is sound, this code lacks the means.
    pub fn is_unsupported(&self) -> bool {
        match self {
            RedoError::Unsupported { .. } => true,
            RedoError::Malformed { .. } | RedoError::PageState { .. } => false,
        }
    }
}
