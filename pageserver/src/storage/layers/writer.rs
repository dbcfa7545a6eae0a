//! Makes layer files: under a temporary name, fsynced, renamed, directory fsynced.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use durable_fs::TEMPORARY_SUFFIX;
use layer_format::{Compression, Identity, LayerName, LayerWriter, Value};
use types::{Key, Lsn, TenantTimelineId};

use super::{DiskLayer, LayerFileName, MemoryLayer};
use crate::storage::StorageError;
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
struct FileWriter {
    environment: Arc<Environment>,
    temporary: PathBuf,
    writer: Option<LayerWriter<BufWriter<File>>>,
}

impl FileWriter {
    fn create(environment: &Arc<Environment>, identity: Identity) -> Result<Self, StorageError> {
        let temporary = temporary_path(&environment.timeline_dir(identity.timeline).join("layer"));
        let file = File::create(&temporary).map_err(StorageError::io("create", &temporary))?;
        let writer =
            LayerWriter::new(BufWriter::with_capacity(256 << 10, file), identity, Compression::default())?;
        Ok(Self { environment: Arc::clone(environment), temporary, writer: Some(writer) })
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
        let file_name =
            LayerFileName { name: identity.name.clone(), generation: self.environment.config.generation };
        let layer = DiskLayer::new(&self.environment, identity, file_name, summary.file_length, false);
        self.environment.fs.sync_data(&file, &self.temporary)?;
        self.environment.fs.rename_durably(&self.temporary, &layer.path)?;
        self.environment.metrics.layers_written.inc();
        self.environment.metrics.layer_bytes_written.inc_by(summary.file_length);
        Ok(layer)
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        // Best effort, and not there after a rename: what stays is removed at the next start.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

/// Writes what a frozen layer holds, all of whose LSNs lie above its base and not above `last`, and each of `images`
/// behind the last change of its key. None if the layer is empty. Blocks.
pub(in crate::storage) fn write_delta_layer(
    environment: &Arc<Environment>,
    timeline: TenantTimelineId,
    frozen: &MemoryLayer,
    last: Lsn,
    mut images: BTreeMap<Key, Bytes>,
) -> Result<Option<DiskLayer>, StorageError> {
    let contents = frozen.contents();
    if contents.is_empty() {
        return Ok(None);
    }
    let name = LayerName::delta(Key::MIN..Key::MAX, frozen.base + 1..last + 1);
    let mut file = FileWriter::create(environment, Identity { timeline, name })?;
    let mut entries = contents.iter().peekable();
    while let Some((key, lsn, tag, bytes)) = entries.next() {
        file.writer().put_parts(key, lsn, tag, bytes)?;
        let key_ends = entries.peek().is_none_or(|(next, ..)| *next != key);
        if key_ends && let Some(image) = images.remove(&key) {
            file.writer().put(key, lsn, &Value::Image(image))?;
        }
    }
    file.finish().map(Some)
}

/// Cuts a stream of keys into image layers that together cover every key there can be.
pub(in crate::storage) struct ImageLayersWriter {
    environment: Arc<Environment>,
    timeline: TenantTimelineId,
    lsn: Lsn,
    current: FileWriter,
    previous: Option<Key>,
    finished: Vec<DiskLayer>,
}

impl ImageLayersWriter {
    pub(in crate::storage) fn create(
        environment: &Arc<Environment>,
        timeline: TenantTimelineId,
        lsn: Lsn,
    ) -> Result<Self, StorageError> {
        let name = LayerName::image(Key::MIN..Key::MAX, lsn);
        let current = FileWriter::create(environment, Identity { timeline, name })?;
        let environment = Arc::clone(environment);
        Ok(Self { environment, timeline, lsn, current, previous: None, finished: Vec::new() })
    }

    pub(in crate::storage) fn put(&mut self, key: Key, image: Bytes) -> Result<(), StorageError> {
        if let Some(previous) = self.previous.filter(|previous| *previous >= key) {
            return Err(StorageError::KeyOrder { previous, key });
        }
        self.previous = Some(key);
        if image.is_empty() {
            // Dropped, which in an image layer is to be absent.
            return Ok(());
        }
        if self.current.writer().written() >= self.environment.config.image_layer_size {
            self.current.writer().narrow_keys(key)?;
            let name = LayerName::image(key..Key::MAX, self.lsn);
            let next = FileWriter::create(&self.environment, Identity { timeline: self.timeline, name })?;
            self.finished.push(std::mem::replace(&mut self.current, next).finish()?);
        }
        Ok(self.current.writer().put(key, self.lsn, &Value::Image(image))?)
    }

    pub(in crate::storage) fn finish(mut self) -> Result<Vec<DiskLayer>, StorageError> {
        self.finished.push(self.current.finish()?);
        Ok(self.finished)
    }
}
