//! Entries: one version of one key, as blocks hold them.
//!
//! ```text
//!  u8 shared   bytes of the key that are those of the entry before (0 in the first entry of a block)
//!  18-shared   the rest of the key
//!  u64         LSN
//!  u8          0 image, 1 change, 2 change that needs no base
//!  u32         length n
//!  n           the value                                             integers little-endian
//! ```

use bytes::Bytes;
use types::{Key, Lsn};

/// What a version of a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// The whole value. Empty: the key was dropped.
    Image(Bytes),
    /// A change to the version before it. With `will_init` it makes the value by itself, and no older version is needed.
    Delta { will_init: bool, change: Bytes },
}

impl Value {
    pub const IMAGE_TAG: u8 = 0;
    /// A change that needs a base.
    pub const CHANGE_TAG: u8 = 1;
    /// A change that is one.
    pub const INIT_TAG: u8 = 2;

    pub fn bytes(&self) -> &Bytes {
        match self {
            Value::Image(bytes) | Value::Delta { change: bytes, .. } => bytes,
        }
    }

    /// Nothing older is needed to make the value.
    pub fn is_base(&self) -> bool {
        match self {
            Value::Image(_) => true,
            Value::Delta { will_init, .. } => *will_init,
        }
    }

    /// The number that stands for the kind of value in files and in memory layers.
    pub fn tag(&self) -> u8 {
        match self {
            Value::Image(_) => Self::IMAGE_TAG,
            Value::Delta { will_init: false, .. } => Self::CHANGE_TAG,
            Value::Delta { will_init: true, .. } => Self::INIT_TAG,
        }
    }

    /// The opposite of [`Value::tag`].
    pub fn from_tag(tag: u8, bytes: Bytes) -> Option<Value> {
        match tag {
            Self::IMAGE_TAG => Some(Value::Image(bytes)),
            Self::CHANGE_TAG => Some(Value::Delta { will_init: false, change: bytes }),
            Self::INIT_TAG => Some(Value::Delta { will_init: true, change: bytes }),
            _ => None,
        }
    }
}

/// One version of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: Key,
    pub lsn: Lsn,
    pub value: Value,
}

/// Bytes of an entry besides its value, if it shares nothing with the one before.
pub(crate) const ENTRY_OVERHEAD: usize = 1 + Key::SIZE + 8 + 1 + 4;

/// Appends an entry; `previous` is the key of the entry before it in the same block.
pub(crate) fn encode(out: &mut Vec<u8>, previous: Option<Key>, key: Key, lsn: Lsn, tag: u8, value: &[u8]) {
    let bytes = key.as_bytes();
    let shared = previous.map_or(0, |p| p.as_bytes().iter().zip(bytes).take_while(|(a, b)| a == b).count());
    out.push(shared as u8);
    out.extend_from_slice(&bytes[shared..]);
    out.extend_from_slice(&lsn.0.to_le_bytes());
    out.push(tag);
    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    out.extend_from_slice(value);
}

/// Reads a whole block of entries. Values are slices of `block`, not copies.
pub(crate) fn decode(block: &Bytes) -> Result<Vec<Entry>, &'static str> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut rest = block.clone();
    let mut key = [0; Key::SIZE];
    while !rest.is_empty() {
        let shared = usize::from(rest[0]);
        if shared > Key::SIZE || (entries.is_empty() && shared != 0) {
            return Err("an entry shares more of its key than there is");
        }
        let head = 1 + (Key::SIZE - shared) + 8 + 1 + 4;
        if rest.len() < head {
            return Err("an entry is cut off");
        }
        let fields = rest.split_to(head);
        key[shared..].copy_from_slice(&fields[1..1 + Key::SIZE - shared]);
        let fields = &fields[1 + Key::SIZE - shared..];
        let lsn = u64::from_le_bytes(fields[..8].try_into().expect("eight bytes"));
        let length = u32::from_le_bytes(fields[9..13].try_into().expect("four bytes")) as usize;
        if rest.len() < length {
            return Err("a value is cut off");
        }
        let value = Value::from_tag(fields[8], rest.split_to(length)).ok_or("a value has an unknown kind")?;
        let entry = Entry { key: Key::from_bytes(key), lsn: Lsn(lsn), value };
        if entries.last().is_some_and(|last| (last.key, last.lsn) > (entry.key, entry.lsn)) {
            return Err("entries are out of order");
        }
        entries.push(entry);
    }
    Ok(entries)
}
