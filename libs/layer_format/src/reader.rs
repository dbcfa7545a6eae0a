//! Reads a layer: opens it by its footer, finds blocks through the index, checks all that it reads.
//!
//! An open reader holds the index root, the key filter, and the index leaves that were needed (about 0.3 % of the
//! layer if all were). Blocks of entries are kept by the caller, in a [`BlockCache`], for as long as it wants.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use types::{Key, KeyRange, Lsn};

use crate::block::{self, BlockKind};
use crate::error::LayerError;
use crate::filter::Filter;
use crate::footer::{
    FOOTER_SIZE, Footer, FooterError, HEADER_SIZE, Identity, Location, VERSION, encode_header,
};
use crate::index::{self, Pointer};
use crate::value::{self, Entry};

/// Positional reads: a file, or bytes in memory.
pub trait ReadAt {
    /// Fills `buffer` from `offset`, or fails.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    fn length(&self) -> io::Result<u64>;
}

impl ReadAt for std::fs::File {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, offset)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl ReadAt for Bytes {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

/// Decoded blocks that one reading operation has met: neighbouring keys lie in the same block.
///
/// Belongs to the readers of one layer; holds at most a handful of blocks, or those that were read ahead.
#[derive(Default)]
pub struct BlockCache {
    /// By their offsets.
    blocks: HashMap<u64, Arc<Vec<Entry>>>,
    /// How many were read ahead.
    ahead: usize,
}

impl BlockCache {
    const BLOCKS: usize = 2;

    /// Blocks that are read ahead at a time: about 1 MiB.
    const BLOCKS_AHEAD: usize = 64;

    /// Forgets what was read ahead.
    pub fn clear(&mut self) {
        self.blocks.clear();
        self.ahead = 0;
    }

    fn insert(&mut self, offset: u64, entries: Arc<Vec<Entry>>) {
        if self.blocks.len() >= Self::BLOCKS + self.ahead {
            self.clear();
        }
        self.blocks.insert(offset, entries);
    }
}

/// Blocks are read in one go if no more bytes than this lie between them.
const GAP: u64 = 16 << 10;

/// A layer that is open for reading.
pub struct LayerReader<R> {
    source: R,
    /// What errors call the layer: usually its path.
    file: String,
    footer: Footer,
    root: Vec<Pointer>,
    leaves: Vec<OnceLock<Vec<Pointer>>>,
    filter: Option<Filter>,
}

impl<R: ReadAt> LayerReader<R> {
    /// Reads header, footer, index root and filter, and checks that it is the layer that is `expected`.
    pub fn open(source: R, file: impl Into<String>, expected: &Identity) -> Result<Self, LayerError> {
        let file = file.into();
        let footer = read_footer(&source, &file)?;
        if footer.identity != *expected {
            let Identity { timeline, name } = &footer.identity;
            return Err(LayerError::WrongLayer {
                file,
                reason: format!("it is layer {name} of timeline {timeline}"),
            });
        }
        let mut header = [0; HEADER_SIZE];
        read_at(&source, &file, &mut header, 0)?;
        if header != encode_header(expected.kind()) {
            return Err(corrupt(&file, 0, "header", "not as it was written"));
        }
        let mut reader = Self { source, file, footer, root: Vec::new(), leaves: Vec::new(), filter: None };
        reader.root = reader.read_index(BlockKind::IndexRoot, reader.footer.root)?;
        reader.leaves = reader.root.iter().map(|_| OnceLock::new()).collect();
        if let Some(location) = reader.footer.filter {
            let contents = reader.read_block(BlockKind::Filter, location)?;
            let filter = Filter::new(contents)
                .map_err(|reason| corrupt(&reader.file, location.offset, BlockKind::Filter.name(), reason))?;
            reader.filter = Some(filter);
        }
        Ok(reader)
    }

    pub fn identity(&self) -> &Identity {
        &self.footer.identity
    }

    pub fn file_length(&self) -> u64 {
        self.footer.file_length
    }

    pub fn entries(&self) -> u64 {
        self.footer.entries
    }

    /// False only if the layer surely holds no entry of `key`.
    pub fn may_contain(&self, key: &Key) -> bool {
        self.identity().name.keys.contains(key)
            && self.filter.as_ref().is_none_or(|filter| filter.may_contain(key))
    }

    /// The entries of `key` with LSNs in `lsns`, newest first, until `visit` returns false.
    pub fn visit_newest_first(
        &self,
        key: &Key,
        lsns: Range<Lsn>,
        cache: &mut BlockCache,
        mut visit: impl FnMut(&Entry) -> bool,
    ) -> Result<(), LayerError> {
        if lsns.is_empty() || !self.may_contain(key) {
            return Ok(());
        }
        let Some(mut leaf) = index::last_before(&self.root, key, lsns.end) else { return Ok(()) };
        let Some(mut slot) = index::last_before(self.leaf(leaf)?, key, lsns.end) else { return Ok(()) };
        loop {
            let pointer = self.leaf(leaf)?[slot];
            let entries = self.entries_of(pointer, cache)?;
            let end = entries.partition_point(|entry| (entry.key, entry.lsn) < (*key, lsns.end));
            for entry in entries[..end].iter().rev() {
                if entry.key != *key || entry.lsn < lsns.start || !visit(entry) {
                    return Ok(());
                }
            }
            // The block began with this key: what came before may lie in the block before.
            (leaf, slot) = match (leaf, slot) {
                (0, 0) => return Ok(()),
                (_, 0) => (leaf - 1, self.leaf(leaf - 1)?.len().saturating_sub(1)),
                (_, _) => (leaf, slot - 1),
            };
        }
    }

    /// Reads the blocks with the newest entries below `end` of these keys, which ascend, into the cache: those that lie
    /// close together in one go. What does not fit is left to [`Self::visit_newest_first`].
    pub fn read_ahead(&self, keys: &[Key], end: Lsn, cache: &mut BlockCache) -> Result<(), LayerError> {
        let mut blocks: Vec<Pointer> = Vec::new();
        for key in keys.iter().filter(|key| self.may_contain(key)) {
            let Some(leaf) = index::last_before(&self.root, key, end) else { continue };
            let Some(slot) = index::last_before(self.leaf(leaf)?, key, end) else { continue };
            let pointer = self.leaf(leaf)?[slot];
            if blocks.last().is_none_or(|last| last.location.offset != pointer.location.offset) {
                if blocks.len() == BlockCache::BLOCKS_AHEAD {
                    break;
                }
                blocks.push(pointer);
            }
        }
        cache.clear();
        cache.ahead = blocks.len();
        let close = |one: &Pointer, next: &Pointer| {
            let behind = one.location.offset + u64::from(one.location.length);
            next.location.offset.checked_sub(behind).is_some_and(|gap| gap <= GAP)
        };
        for group in blocks.chunk_by(close) {
            for (pointer, framed) in group.iter().zip(self.read_group(group)?) {
                cache.insert(pointer.location.offset, Arc::new(self.decode_entries(*pointer, framed)?));
            }
        }
        Ok(())
    }

    /// The bytes of blocks that follow each other, read in one go.
    fn read_group(&self, group: &[Pointer]) -> Result<Vec<Bytes>, LayerError> {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(Vec::new()) };
        for pointer in group {
            self.check_location(BlockKind::Entries, pointer.location)?;
        }
        let start = first.location.offset;
        let length = last.location.offset + u64::from(last.location.length) - start;
        let mut bytes = vec![0; length as usize];
        read_at(&self.source, &self.file, &mut bytes, start)?;
        let bytes = Bytes::from(bytes);
        let part = |pointer: &Pointer| {
            let from = (pointer.location.offset - start) as usize;
            bytes.slice(from..from + pointer.location.length as usize)
        };
        Ok(group.iter().map(part).collect())
    }

    /// All entries of keys in `keys`, in order of key and LSN, with one block in memory at a time.
    ///
    /// After an error there is nothing more.
    pub fn entries_in(&self, keys: KeyRange) -> Entries<'_, R> {
        Entries { reader: self, keys, place: Place::Start, block: Vec::new().into_iter() }
    }

    fn leaf(&self, number: usize) -> Result<&[Pointer], LayerError> {
        if let Some(pointers) = self.leaves[number].get() {
            return Ok(pointers);
        }
        let location = self.root[number].location;
        let pointers = self.read_index(BlockKind::IndexLeaf, location)?;
        if pointers.is_empty() {
            return Err(corrupt(&self.file, location.offset, BlockKind::IndexLeaf.name(), "it is empty"));
        }
        Ok(self.leaves[number].get_or_init(|| pointers))
    }

    fn entries_of(&self, pointer: Pointer, cache: &mut BlockCache) -> Result<Arc<Vec<Entry>>, LayerError> {
        if let Some(entries) = cache.blocks.get(&pointer.location.offset) {
            return Ok(Arc::clone(entries));
        }
        let framed = self.read_framed(BlockKind::Entries, pointer.location)?;
        let entries = Arc::new(self.decode_entries(pointer, framed)?);
        cache.insert(pointer.location.offset, Arc::clone(&entries));
        Ok(entries)
    }

    fn decode_entries(&self, pointer: Pointer, framed: Bytes) -> Result<Vec<Entry>, LayerError> {
        let part = BlockKind::Entries;
        let contents = self.decode_block(part, pointer.location, framed)?;
        let entries = value::decode(&contents)
            .map_err(|reason| corrupt(&self.file, pointer.location.offset, part.name(), reason))?;
        if entries.first().is_none_or(|first| (first.key, first.lsn) != (pointer.key, pointer.lsn)) {
            let reason = "it does not begin as the index says";
            return Err(corrupt(&self.file, pointer.location.offset, part.name(), reason));
        }
        Ok(entries)
    }

    fn read_index(&self, kind: BlockKind, location: Location) -> Result<Vec<Pointer>, LayerError> {
        let contents = self.read_block(kind, location)?;
        index::decode(&contents).map_err(|reason| corrupt(&self.file, location.offset, kind.name(), reason))
    }

    fn read_block(&self, kind: BlockKind, location: Location) -> Result<Bytes, LayerError> {
        self.decode_block(kind, location, self.read_framed(kind, location)?)
    }

    /// Never allocate what a damaged length asks for: the file's own length is already checked.
    fn check_location(&self, kind: BlockKind, location: Location) -> Result<(), LayerError> {
        let Location { offset, length, .. } = location;
        let end = self.footer.file_length - FOOTER_SIZE as u64;
        if offset.checked_add(u64::from(length)).is_none_or(|block_end| block_end > end) {
            return Err(corrupt(&self.file, offset, kind.name(), "the index points outside the file"));
        }
        Ok(())
    }

    /// A block as it is in the file.
    fn read_framed(&self, kind: BlockKind, location: Location) -> Result<Bytes, LayerError> {
        self.check_location(kind, location)?;
        let mut framed = vec![0; location.length as usize];
        read_at(&self.source, &self.file, &mut framed, location.offset)?;
        Ok(framed.into())
    }

    fn decode_block(&self, kind: BlockKind, location: Location, framed: Bytes) -> Result<Bytes, LayerError> {
        let Location { offset, crc, .. } = location;
        let damaged = |reason: &str| corrupt(&self.file, offset, kind.name(), reason);
        if framed.get(..4) != Some(&crc.to_le_bytes()) {
            return Err(damaged("its checksum is not the one that the index holds"));
        }
        block::decode(kind, offset, framed).map_err(|reason| damaged(&reason))
    }
}

/// Where the next block of entries is.
#[derive(Clone, Copy)]
enum Place {
    Start,
    At { leaf: usize, slot: usize },
    End,
}

/// See [`LayerReader::entries_in`].
pub struct Entries<'a, R> {
    reader: &'a LayerReader<R>,
    keys: KeyRange,
    place: Place,
    block: std::vec::IntoIter<Entry>,
}

impl<R: ReadAt> Entries<'_, R> {
    /// The next block that may have some of the keys; none behind the last.
    fn next_block(&mut self) -> Result<Option<Vec<Entry>>, LayerError> {
        let (reader, first) = (self.reader, &self.keys.start);
        let (mut leaf, mut slot) = match self.place {
            Place::End => return Ok(None),
            Place::At { leaf, slot } => (leaf, slot),
            Place::Start if self.keys.is_empty() || reader.root.is_empty() => return Ok(None),
            Place::Start => {
                let leaf = index::first_from(&reader.root, first);
                (leaf, index::first_from(reader.leaf(leaf)?, first))
            }
        };
        if slot == reader.leaf(leaf)?.len() {
            (leaf, slot) = (leaf + 1, 0);
        }
        let behind = |pointer: &Pointer| pointer.key >= self.keys.end;
        if reader.root.get(leaf).is_none_or(behind) || behind(&reader.leaf(leaf)?[slot]) {
            return Ok(None);
        }
        self.place = Place::At { leaf, slot: slot + 1 };
        let pointer = reader.leaf(leaf)?[slot];
        let framed = reader.read_framed(BlockKind::Entries, pointer.location)?;
        reader.decode_entries(pointer, framed).map(Some)
    }
}

impl<R: ReadAt> Iterator for Entries<'_, R> {
    type Item = Result<Entry, LayerError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.block.find(|entry| entry.key >= self.keys.start) {
                if entry.key < self.keys.end {
                    return Some(Ok(entry));
                }
                self.place = Place::End;
            }
            match self.next_block() {
                Ok(Some(block)) => self.block = block.into_iter(),
                Ok(None) => {
                    self.place = Place::End;
                    self.block = Vec::new().into_iter();
                    return None;
                }
                Err(error) => {
                    self.place = Place::End;
                    self.block = Vec::new().into_iter();
                    return Some(Err(error));
                }
            }
        }
    }
}

fn read_footer<R: ReadAt>(source: &R, file: &str) -> Result<Footer, LayerError> {
    let read_error = |source| LayerError::Read { file: file.to_owned(), offset: 0, source };
    let length = source.length().map_err(read_error)?;
    let Some(offset) = length.checked_sub(FOOTER_SIZE as u64).filter(|offset| *offset >= HEADER_SIZE as u64)
    else {
        return Err(corrupt(file, 0, "file", format!("{length} bytes are no layer")));
    };
    let mut bytes = [0; FOOTER_SIZE];
    read_at(source, file, &mut bytes, offset)?;
    let footer = Footer::decode(&bytes).map_err(|error| match error {
        FooterError::Damaged(reason) => corrupt(file, offset, "footer", reason),
        FooterError::UnknownVersion(version) => {
            LayerError::UnknownVersion { file: file.to_owned(), version, known: VERSION }
        }
    })?;
    if footer.file_length != length {
        let reason = format!("the file has {length} bytes, should have {}", footer.file_length);
        return Err(corrupt(file, offset, "footer", reason));
    }
    Ok(footer)
}

fn read_at<R: ReadAt>(source: &R, file: &str, buffer: &mut [u8], offset: u64) -> Result<(), LayerError> {
    source.read_exact_at(buffer, offset).map_err(|source| LayerError::Read {
        file: file.to_owned(),
        offset,
        source,
    })
}

fn corrupt(file: &str, offset: u64, part: &'static str, reason: impl Into<String>) -> LayerError {
    LayerError::Corrupt { file: file.to_owned(), offset, part, reason: reason.into() }
}
