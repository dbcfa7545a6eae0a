//! Makes layer files: under a temporary name, fsynced, renamed, directory fsynced.

use std::fs::File;
use std::io::BufWriter;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use durable_fs::TEMPORARY_SUFFIX;
use layer_format::{Compression, Identity, LayerName, LayerWriter, Value};
use types::{Generation, Key, KeyRange, Lsn, TenantTimelineId};

use super::shortener::{Images, Shortener};
use super::{DiskLayer, LayerFileName, MemoryLayer};
use crate::storage::StorageError;
use crate::storage::compaction::end_of_blocks;
use crate::storage::environment::Environment;

/// Each attempt has its own name: one whose waiter went away may still be writing when the next begins.
static NEXT_TEMPORARY: AtomicU64 = AtomicU64::new(0);

pub(in crate::storage) fn temporary_path(near: &Path) -> PathBuf {
    let number = NEXT_TEMPORARY.fetch_add(1, Ordering::Relaxed);
    near.with_file_name(format!("layer-{number}{TEMPORARY_SUFFIX}"))
}

/// Left by an attempt that did not finish.
pub(in crate::storage) fn is_temporary(file_name: &str) -> bool {
    file_name.ends_with(TEMPORARY_SUFFIX)
}

/// A layer file while it is written; removed again unless it is finished.
pub(in crate::storage) struct FileWriter {
    environment: Arc<Environment>,
    generation: Generation,
    temporary: PathBuf,
    writer: Option<LayerWriter<BufWriter<File>>>,
}

impl FileWriter {
    fn create(
        environment: &Arc<Environment>,
        identity: Identity,
        generation: Generation,
    ) -> Result<Self, StorageError> {
        let temporary = temporary_path(&environment.timeline_dir(identity.timeline).join("layer"));
        let file = File::create(&temporary).map_err(StorageError::io("create", &temporary))?;
        let writer =
            LayerWriter::new(BufWriter::with_capacity(256 << 10, file), identity, Compression::default())?;
        Ok(Self { environment: Arc::clone(environment), generation, temporary, writer: Some(writer) })
    }

    fn writer(&mut self) -> &mut LayerWriter<BufWriter<File>> {
        self.writer.as_mut().expect("taken only by finish, which takes self")
    }

    /// Durable when this returns. After any error, a failed fsync included, the caller still has all that went in
    /// and may write a new file: nothing of this one is used again.
    fn finish(mut self) -> Result<DiskLayer, StorageError> {
        let writer = self.writer.take().expect("taken only here");
        let identity = writer.identity().clone();
        let (sink, summary) = writer.finish()?;
        let file = sink
            .into_inner()
            .map_err(|error| StorageError::io("write", &self.temporary)(error.into_error()))?;
        let file_name = LayerFileName { name: identity.name.clone(), generation: self.generation };
        let (size, entries) = (summary.file_length, Some(summary.entries));
        let layer = DiskLayer::new(&self.environment, identity, file_name, size, entries, false);
        self.environment.fs.sync_data(&file, &self.temporary)?;
        self.environment.fs.rename_durably(&self.temporary, &layer.path)?;
        layer.set_local(true);
        self.environment.metrics.written_layers.inc();
        self.environment.metrics.layer_written_bytes.inc_by(summary.file_length);
        Ok(layer)
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        // Best effort, and not there after a rename: what stays is removed at the next start.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

/// Whole files of work that is not done yet: they go with it, if nobody keeps them.
#[derive(Default)]
pub(in crate::storage) struct Written(Vec<DiskLayer>);

impl Written {
    pub(in crate::storage) fn keep(mut self) -> Vec<DiskLayer> {
        std::mem::take(&mut self.0)
    }
}

impl Deref for Written {
    type Target = [DiskLayer];

    fn deref(&self) -> &[DiskLayer] {
        &self.0
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        self.0.iter().for_each(DiskLayer::set_obsolete);
    }
}

/// What takes the entries of delta layers, in order of key and LSN.
pub(in crate::storage) trait EntrySink {
    fn put(&mut self, key: Key, lsn: Lsn, value: &Value) -> Result<(), StorageError>;
}

impl EntrySink for &mut FileWriter {
    fn put(&mut self, key: Key, lsn: Lsn, value: &Value) -> Result<(), StorageError> {
        Ok(self.writer().put(key, lsn, value)?)
    }
}

/// Writes what a frozen layer holds, all of whose LSNs lie above its base and not above `last`, with images of keys
/// that it changed often. None if the layer is empty. Blocks.
pub(in crate::storage) fn write_delta_layer(
    environment: &Arc<Environment>,
    timeline: TenantTimelineId,
    generation: Generation,
    frozen: &MemoryLayer,
    last: Lsn,
    images: Option<&dyn Images>,
) -> Result<Option<DiskLayer>, StorageError> {
    let contents = frozen.contents();
    if contents.is_empty() {
        return Ok(None);
    }
    let name = LayerName::delta(Key::MIN..Key::MAX, frozen.base + 1..last + 1);
    let mut file = FileWriter::create(environment, Identity { timeline, name }, generation)?;
    let spacing = environment.config.spacing();
    for (key, versions) in contents.keys() {
        match images.filter(|_| versions.len() >= spacing.at_end) {
            Some(images) => {
                let mut shortener = Shortener::new(&mut file, images, spacing);
                for (lsn, tag, bytes) in versions {
                    let value = Value::from_tag(tag, Bytes::copy_from_slice(bytes));
                    shortener.put(key, lsn, &value.expect("tags come from Value::tag"))?;
                }
                shortener.finish()?;
            }
            None => {
                for (lsn, tag, bytes) in versions {
                    file.writer().put_parts(key, lsn, tag, bytes)?;
                }
            }
        }
    }
    file.finish().map(Some)
}

/// Cuts a stream of changes into delta layers of about the target size, each of as few keys as it has.
pub(in crate::storage) struct DeltaLayersWriter {
    environment: Arc<Environment>,
    timeline: TenantTimelineId,
    generation: Generation,
    lsns: Range<Lsn>,
    current: Option<FileWriter>,
    previous: Option<Key>,
    finished: Written,
}

impl DeltaLayersWriter {
    pub(in crate::storage) fn new(
        environment: &Arc<Environment>,
        timeline: TenantTimelineId,
        generation: Generation,
        lsns: Range<Lsn>,
    ) -> Self {
        let environment = Arc::clone(environment);
        Self {
            environment,
            timeline,
            generation,
            lsns,
            current: None,
            previous: None,
            finished: Written::default(),
        }
    }

    fn close(&mut self) -> Result<(), StorageError> {
        if let Some(mut file) = self.current.take() {
            let end = self.previous.and_then(|key| key.next()).unwrap_or(Key::MAX);
            file.writer().narrow_keys(end)?;
            self.finished.0.push(file.finish()?);
        }
        Ok(())
    }

    pub(in crate::storage) fn finish(mut self) -> Result<Written, StorageError> {
        self.close()?;
        Ok(self.finished)
    }
}

impl EntrySink for DeltaLayersWriter {
    fn put(&mut self, key: Key, lsn: Lsn, value: &Value) -> Result<(), StorageError> {
        let target = self.environment.config.target_layer_size;
        // All versions of a key stay together: layers that lie beside each other cover the same LSNs.
        let is_full = |file: &mut FileWriter| file.writer().written() >= target;
        if self.previous != Some(key) && self.current.as_mut().is_some_and(is_full) {
            self.close()?;
        }
        self.previous = Some(key);
        let file = match &mut self.current {
            Some(file) => file,
            empty => {
                let name = LayerName::delta(key..Key::MAX, self.lsns.clone());
                let identity = Identity { timeline: self.timeline, name };
                empty.insert(FileWriter::create(&self.environment, identity, self.generation)?)
            }
        };
        Ok(file.writer().put(key, lsn, value)?)
    }
}

/// Cuts a stream of keys into image layers that together cover a range of them.
pub(in crate::storage) struct ImageLayersWriter {
    environment: Arc<Environment>,
    timeline: TenantTimelineId,
    generation: Generation,
    lsn: Lsn,
    end: Key,
    /// None: all of the range is covered, or left out.
    current: Option<FileWriter>,
    previous: Option<Key>,
    finished: Written,
}

impl ImageLayersWriter {
    pub(in crate::storage) fn create(
        environment: &Arc<Environment>,
        timeline: TenantTimelineId,
        generation: Generation,
        keys: KeyRange,
        lsn: Lsn,
    ) -> Result<Self, StorageError> {
        let mut writer = Self {
            environment: Arc::clone(environment),
            timeline,
            generation,
            lsn,
            end: keys.end,
            current: None,
            previous: None,
            finished: Written::default(),
        };
        writer.open(keys.start)?;
        Ok(writer)
    }

    /// The next file begins at `start`.
    fn open(&mut self, start: Key) -> Result<(), StorageError> {
        if start < self.end {
            let name = LayerName::image(start..self.end, self.lsn);
            let identity = Identity { timeline: self.timeline, name };
            self.current = Some(FileWriter::create(&self.environment, identity, self.generation)?);
        }
        Ok(())
    }

    /// The present file ends before `end`, unless it would cover nothing.
    fn close(&mut self, end: Key) -> Result<(), StorageError> {
        if let Some(mut file) = self.current.take()
            && file.writer().identity().name.keys.start < end
        {
            file.writer().narrow_keys(end)?;
            self.finished.0.push(file.finish()?);
        }
        Ok(())
    }

    fn check_order(&mut self, key: Key) -> Result<(), StorageError> {
        match self.previous.replace(key).filter(|previous| *previous >= key) {
            Some(previous) => Err(StorageError::KeyOrder { previous, key }),
            None => Ok(()),
        }
    }

    pub(in crate::storage) fn put(&mut self, key: Key, image: Bytes) -> Result<(), StorageError> {
        self.check_order(key)?;
        if image.is_empty() {
            // Dropped, which in an image layer is to be absent.
            return Ok(());
        }
        // Of a layer that has nothing but blocks, it is known how many of them nobody reads any more.
        let ends_in_block =
            |file: &mut FileWriter| file.writer().last_key().is_some_and(|last| last < end_of_blocks());
        if key >= end_of_blocks() && self.current.as_mut().is_some_and(ends_in_block) {
            self.close(end_of_blocks())?;
            self.open(end_of_blocks())?;
        }
        let target = self.environment.config.image_layer_size;
        if self.current.as_mut().is_some_and(|file| file.writer().written() >= target) {
            self.close(key)?;
            self.open(key)?;
        }
        match &mut self.current {
            Some(file) => Ok(file.writer().put(key, self.lsn, &Value::Image(image))?),
            None => Ok(()),
        }
    }

    /// The value of `key` is not known: no layer covers it.
    pub(in crate::storage) fn leave_out(&mut self, key: Key) -> Result<(), StorageError> {
        self.check_order(key)?;
        self.close(key)?;
        self.open(key.next().unwrap_or(Key::MAX))
    }

    pub(in crate::storage) fn finish(mut self) -> Result<Written, StorageError> {
        self.close(self.end)?;
        Ok(self.finished)
    }
}
