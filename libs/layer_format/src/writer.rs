//! Writes a layer from entries that come in order, holding one block and the index in memory.

use std::io::Write;

use types::{Key, Lsn};

use crate::block::{self, BlockKind, Compression};
use crate::error::LayerError;
use crate::filter::FilterBuilder;
use crate::footer::{self, Footer, Identity, LayerKind, Location};
use crate::index::{self, LEAF_POINTERS, Pointer};
use crate::value::{self, ENTRY_OVERHEAD, Value};

/// A block is closed before it would grow past this, unless one value alone is larger.
const BLOCK_CONTENTS: usize = 16 << 10;

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerSummary {
    pub file_length: u64,
    pub entries: u64,
    /// Bytes of keys and values before compression.
    pub raw_bytes: u64,
}

/// Streams one layer into `sink`. Making the sink durable is the caller's business.
pub struct LayerWriter<W: Write> {
    sink: W,
    offset: u64,
    identity: Identity,
    compression: Compression,
    block: Vec<u8>,
    block_first: Option<(Key, Lsn)>,
    last: Option<(Key, Lsn)>,
    leaf: Vec<Pointer>,
    root: Vec<Pointer>,
    filter: FilterBuilder,
    entries: u64,
    raw_bytes: u64,
}

impl<W: Write> LayerWriter<W> {
    pub fn new(mut sink: W, identity: Identity, compression: Compression) -> Result<Self, LayerError> {
        let header = footer::encode_header(identity.kind());
        sink.write_all(&header)?;
        Ok(Self {
            sink,
            offset: header.len() as u64,
            identity,
            compression,
            block: Vec::with_capacity(BLOCK_CONTENTS),
            block_first: None,
            last: None,
            leaf: Vec::new(),
            root: Vec::new(),
            filter: FilterBuilder::default(),
            entries: 0,
            raw_bytes: 0,
        })
    }

    /// Bytes written up to now; the layer grows by its open block and its index.
    pub fn written(&self) -> u64 {
        self.offset
    }

    /// Ends the layer's key range at `end`, for a caller that learns only while writing how much goes into it.
    pub fn narrow_keys(&mut self, end: Key) -> Result<(), LayerError> {
        let keys = &mut self.identity.name.keys;
        if end <= keys.start || end > keys.end || self.last.is_some_and(|(last, _)| last >= end) {
            let lsn = self.identity.name.lsn_range().start;
            return Err(LayerError::BadEntry {
                key: end,
                lsn,
                reason: "it does not end the layer's key range",
            });
        }
        keys.end = end;
        Ok(())
    }

    /// Of the entry that was put last.
    pub fn last_key(&self) -> Option<Key> {
        self.last.map(|(key, _)| key)
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The next entry: not before the one before it. Entries of one key at one LSN keep the order they come in.
    pub fn put(&mut self, key: Key, lsn: Lsn, value: &Value) -> Result<(), LayerError> {
        self.put_parts(key, lsn, value.tag(), value.bytes())
    }

    /// As [`LayerWriter::put`], for a caller that keeps values as [`Value::tag`] and bytes.
    pub fn put_parts(&mut self, key: Key, lsn: Lsn, tag: u8, bytes: &[u8]) -> Result<(), LayerError> {
        self.check(key, lsn, tag, bytes)?;
        if !self.block.is_empty() && self.block.len() + ENTRY_OVERHEAD + bytes.len() > BLOCK_CONTENTS {
            self.close_block()?;
        }
        let previous = if self.block.is_empty() { None } else { self.last.map(|(key, _)| key) };
        value::encode(&mut self.block, previous, key, lsn, tag, bytes);
        self.block_first.get_or_insert((key, lsn));
        if self.last.is_none_or(|(last, _)| last != key) {
            self.filter.add(&key);
        }
        self.last = Some((key, lsn));
        self.entries += 1;
        self.raw_bytes += (Key::SIZE + bytes.len()) as u64;
        Ok(())
    }

    fn check(&self, key: Key, lsn: Lsn, tag: u8, bytes: &[u8]) -> Result<(), LayerError> {
        let bad = |reason| Err(LayerError::BadEntry { key, lsn, reason });
        if !self.identity.name.keys.contains(&key) {
            return bad("its key is outside the layer's range");
        }
        if !self.identity.name.lsn_range().contains(&lsn) {
            return bad("its LSN is outside the layer's range");
        }
        if bytes.len() > block::MAX_CONTENTS - ENTRY_OVERHEAD {
            return bad("its value is too large");
        }
        if self.last.is_some_and(|last| last > (key, lsn)) {
            return bad("it comes after a later one");
        }
        match self.identity.kind() {
            LayerKind::Delta => Ok(()),
            LayerKind::Image if tag != 0 => bad("an image layer holds no changes"),
            LayerKind::Image if self.last.is_some_and(|(last, _)| last == key) => {
                bad("an image layer holds a key once")
            }
            LayerKind::Image => Ok(()),
        }
    }

    fn write_block(&mut self, kind: BlockKind, contents: &[u8]) -> Result<Location, LayerError> {
        // A filter is random bits.
        let compression = if kind == BlockKind::Filter { Compression::None } else { self.compression };
        let framed = block::encode(kind, compression, self.offset, contents)?;
        self.sink.write_all(&framed)?;
        let location = Location {
            offset: self.offset,
            length: framed.len() as u32,
            crc: u32::from_le_bytes(framed[..4].try_into().expect("four bytes")),
        };
        self.offset += framed.len() as u64;
        Ok(location)
    }

    fn close_block(&mut self) -> Result<(), LayerError> {
        let Some((key, lsn)) = self.block_first.take() else { return Ok(()) };
        let contents = std::mem::take(&mut self.block);
        let location = self.write_block(BlockKind::Entries, &contents)?;
        self.block = contents;
        self.block.clear();
        // One huge value must not be held on to until the layer is done.
        self.block.shrink_to(4 * BLOCK_CONTENTS);
        self.leaf.push(Pointer { key, lsn, location });
        if self.leaf.len() == LEAF_POINTERS { self.close_leaf() } else { Ok(()) }
    }

    fn close_leaf(&mut self) -> Result<(), LayerError> {
        let Some(first) = self.leaf.first().copied() else { return Ok(()) };
        let location = self.write_block(BlockKind::IndexLeaf, &index::encode(&self.leaf))?;
        self.leaf.clear();
        self.root.push(Pointer { location, ..first });
        Ok(())
    }

    /// Writes index, filter and footer; gives the sink back, flushed.
    pub fn finish(mut self) -> Result<(W, LayerSummary), LayerError> {
        self.close_block()?;
        self.close_leaf()?;
        let root = self.write_block(BlockKind::IndexRoot, &index::encode(&self.root))?;
        // An image layer is whole: a key that its index does not find does not exist, and no filter is needed.
        let filter = match self.identity.kind() {
            LayerKind::Delta => std::mem::take(&mut self.filter).finish(),
            LayerKind::Image => None,
        };
        let filter = match filter {
            Some(contents) => Some(self.write_block(BlockKind::Filter, &contents)?),
            None => None,
        };
        let footer = Footer {
            identity: self.identity,
            entries: self.entries,
            raw_bytes: self.raw_bytes,
            root,
            filter,
            file_length: self.offset + footer::FOOTER_SIZE as u64,
        };
        self.sink.write_all(&footer.encode())?;
        self.sink.flush()?;
        let summary = LayerSummary {
            file_length: footer.file_length,
            entries: self.entries,
            raw_bytes: self.raw_bytes,
        };
        Ok((self.sink, summary))
    }
}
