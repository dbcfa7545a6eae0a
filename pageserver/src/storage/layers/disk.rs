//! A layer that is a file: always in remote storage or about to be, on local disk when it was needed.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use durable_fs::run_blocking;
use layer_format::{BlockCache, Identity, LayerReader};
use prometheus::{IntCounter, IntGauge};
use remote_storage::ObjectKey;
use telemetry::child_span;
use tracing::Instrument;
use types::{Key, TenantTimelineId};

use super::{LayerFileName, OpenFiles};
use crate::storage::StorageError;
use crate::storage::environment::Environment;
use crate::storage::layers::writer::temporary_path;

/// So long after its object was found damaged a layer is not fetched again to find out that it still is.
pub(in crate::storage) const DAMAGE_LASTS: Duration = Duration::from_mins(5);
/// How often a layer that does not fit on the disk is fetched before whoever reads it is told.
const FETCH_ATTEMPTS: usize = 4;

pub(in crate::storage) struct DiskLayer {
    pub(in crate::storage) identity: Identity,
    pub(in crate::storage) file_name: LayerFileName,
    pub(in crate::storage) file_size: u64,
    /// How many values and changes it has. None: written before indexes said so.
    pub(in crate::storage) entries: Option<u64>,
    pub(in crate::storage) path: PathBuf,
    pub(in crate::storage) remote_key: ObjectKey,
    /// A put of it has succeeded; an index may name it.
    uploaded: AtomicBool,
    /// Others have taken its place: its file goes with the last reader that has it.
    obsolete: AtomicBool,
    reader: Mutex<Option<Arc<LayerReader<File>>>>,
    open_files: Arc<OpenFiles>,
    /// Held while the layer is fetched, so that readers who miss it together fetch it once; and while it is evicted.
    fetching: tokio::sync::Mutex<()>,
    /// Its file is on the local disk, and counted.
    is_local: AtomicBool,
    local_bytes: IntGauge,
    /// Counts it until it is uploaded.
    waiting_bytes: IntGauge,
    evictions: IntCounter,
    /// Those who need the file to stay.
    holders: AtomicUsize,
    /// Milliseconds of this process.
    last_access: AtomicU64,
    /// When what remote storage has of it was found not to be what was written.
    damaged: Mutex<Option<Instant>>,
}

/// Keeps a layer's file on the local disk.
pub(in crate::storage) struct Held(Arc<DiskLayer>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.holders.fetch_sub(1, Ordering::AcqRel);
    }
}

fn gauge_value(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Milliseconds since the first call.
fn milliseconds() -> u64 {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGIN.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl DiskLayer {
    pub(in crate::storage) fn new(
        environment: &Environment,
        identity: Identity,
        file_name: LayerFileName,
        file_size: u64,
        entries: Option<u64>,
        uploaded: bool,
    ) -> Self {
        let text = file_name.to_string();
        let waiting_bytes = environment.metrics.waiting_layer_bytes.clone();
        if !uploaded {
            waiting_bytes.add(gauge_value(file_size));
        }
        Self {
            path: environment.timeline_dir(identity.timeline).join(&text),
            remote_key: environment.timeline_object(identity.timeline, &text),
            identity,
            file_name,
            file_size,
            entries,
            uploaded: AtomicBool::new(uploaded),
            obsolete: AtomicBool::new(false),
            reader: Mutex::new(None),
            open_files: Arc::clone(&environment.open_files),
            fetching: tokio::sync::Mutex::new(()),
            is_local: AtomicBool::new(false),
            local_bytes: environment.metrics.local_layer_bytes.clone(),
            waiting_bytes,
            evictions: environment.metrics.evicted_layers.clone(),
            holders: AtomicUsize::new(0),
            last_access: AtomicU64::new(milliseconds()),
            damaged: Mutex::new(None),
        }
    }

    /// Its file has come to the local disk, was found there, or has gone from there.
    pub(in crate::storage) fn set_local(&self, is_local: bool) {
        let was_local = self.is_local.swap(is_local, Ordering::AcqRel);
        let size = gauge_value(self.file_size);
        match (was_local, is_local) {
            (false, true) => self.local_bytes.add(size),
            (true, false) => self.local_bytes.sub(size),
            (false, false) | (true, true) => {}
        }
    }

    pub(in crate::storage) fn is_local(&self) -> bool {
        self.is_local.load(Ordering::Acquire)
    }

    pub(in crate::storage) fn last_access(&self) -> u64 {
        self.last_access.load(Ordering::Relaxed)
    }

    pub(in crate::storage) fn is_evictable(&self) -> bool {
        self.is_uploaded()
            && self.is_local()
            && self.holders.load(Ordering::Acquire) == 0
            && !self.obsolete.load(Ordering::Acquire)
    }

    /// Removes the file unless it is needed. Whether it did. Blocks.
    pub(in crate::storage) fn evict(&self) -> Result<bool, StorageError> {
        let Ok(_alone) = self.fetching.try_lock() else { return Ok(false) };
        if !self.is_evictable() {
            return Ok(false);
        }
        match std::fs::remove_file(&self.path) {
            Ok(()) => {}
            // Somebody has emptied the cache by hand.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StorageError::io("remove", &self.path)(error)),
        }
        self.close();
        self.set_local(false);
        self.evictions.inc();
        Ok(true)
    }

    pub(in crate::storage) fn is_uploaded(&self) -> bool {
        self.uploaded.load(Ordering::Acquire)
    }

    pub(in crate::storage) fn set_uploaded(&self) {
        if !self.uploaded.swap(true, Ordering::AcqRel) {
            self.waiting_bytes.sub(gauge_value(self.file_size));
        }
    }

    pub(in crate::storage) fn set_obsolete(&self) {
        self.obsolete.store(true, Ordering::Release);
    }

    /// The next read opens the file again.
    pub(super) fn close(&self) {
        *self.reader.lock().expect("no holder panics") = None;
    }

    /// Opens the file if it is not open yet. None: it is not on local disk. Blocks.
    fn reader(self: &Arc<Self>) -> Result<Option<Arc<LayerReader<File>>>, StorageError> {
        self.last_access.store(milliseconds(), Ordering::Relaxed);
        let mut slot = self.reader.lock().expect("no holder panics");
        if let Some(reader) = &*slot {
            return Ok(Some(Arc::clone(reader)));
        }
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StorageError::io("open", &self.path)(error)),
        };
        let reader = Arc::new(LayerReader::open(file, self.path.display().to_string(), &self.identity)?);
        *slot = Some(Arc::clone(&reader));
        drop(slot);
        self.open_files.note(self);
        Ok(Some(reader))
    }

    /// The same of a layer that was made sure to be there.
    pub(in crate::storage) fn local_reader(self: &Arc<Self>) -> Result<Arc<LayerReader<File>>, StorageError> {
        let missing = || StorageError::io("open", &self.path)(io::ErrorKind::NotFound.into());
        self.reader()?.ok_or_else(missing)
    }

    /// Fetches the layer from remote storage unless it has come in the meantime.
    pub(in crate::storage) async fn ensure_local(
        &self,
        environment: &Environment,
    ) -> Result<(), StorageError> {
        let _fetching = self.fetching.lock().await;
        self.fetch_if_missing(environment).await
    }

    /// The same for somebody who needs the file to stay until what is returned is dropped.
    pub(in crate::storage) async fn hold_local(
        self: &Arc<Self>,
        environment: &Environment,
    ) -> Result<Held, StorageError> {
        let _fetching = self.fetching.lock().await;
        self.holders.fetch_add(1, Ordering::AcqRel);
        let held = Held(Arc::clone(self));
        self.fetch_if_missing(environment).await?;
        Ok(held)
    }

    /// Throws the local file away, unless another reader has done so, and fetches the layer again, since what the file
    /// holds is not what was written. An error if there is no better copy, or was none moments ago.
    pub(in crate::storage) async fn replace_damaged(
        self: &Arc<Self>,
        environment: &Environment,
        damage: StorageError,
    ) -> Result<(), StorageError> {
        if !self.is_uploaded() {
            return Err(damage);
        }
        let _fetching = self.fetching.lock().await;
        if self.has_damaged_object() {
            return Err(damage);
        }
        if self.verify().await.is_ok() {
            return Ok(());
        }
        tracing::error!(timeline = %self.id(), layer = %self.file_name, error = %damage, "a damaged layer is fetched again");
        match tokio::fs::remove_file(&self.path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StorageError::io("remove", &self.path)(error));
            }
            Ok(()) | Err(_) => self.close(),
        }
        self.set_local(false);
        self.fetch_if_missing(environment).await?;
        let verified = self.verify().await;
        if verified.as_ref().is_err_and(StorageError::is_corruption) {
            self.note_damaged_object();
        }
        verified
    }

    fn note_damaged_object(&self) {
        *self.damaged.lock().expect("no holder panics") = Some(Instant::now());
    }

    fn has_damaged_object(&self) -> bool {
        self.damaged.lock().expect("no holder panics").is_some_and(|since| since.elapsed() < DAMAGE_LASTS)
    }

    /// Reads the whole file, as it is on disk now.
    pub(in crate::storage) async fn verify(self: &Arc<Self>) -> Result<(), StorageError> {
        self.close();
        let layer = Arc::clone(self);
        run_blocking(move || {
            for entry in layer.local_reader()?.entries_in(Key::MIN..Key::MAX) {
                entry?;
            }
            Ok(())
        })
        .await
    }

    fn id(&self) -> TenantTimelineId {
        self.identity.timeline
    }

    async fn fetch_if_missing(&self, environment: &Environment) -> Result<(), StorageError> {
        if tokio::fs::try_exists(&self.path).await.map_err(StorageError::io("look up", &self.path))? {
            return Ok(());
        }
        tracing::info!(layer = %self.file_name, timeline = %self.identity.timeline, "downloading a layer");
        let span = child_span!(
            "download layer",
            varve.tenant_id = %self.id().tenant_id,
            varve.timeline_id = %self.id().timeline_id,
            varve.layer = %self.file_name,
            varve.layer_size = self.file_size,
        );
        self.fetch(environment).instrument(span).await
    }

    /// Tries again, when the disk is full, as soon as there is room.
    async fn fetch(&self, environment: &Environment) -> Result<(), StorageError> {
        let mut attempt = 1;
        loop {
            let temporary = temporary_path(&self.path);
            let outcome = self.fetch_through(environment, temporary.clone()).await;
            if outcome.is_err() {
                // Best effort: what stays is removed at the next start.
                let _ = tokio::fs::remove_file(&temporary).await;
            }
            match outcome {
                Err(error) if error.is_disk_full() && attempt < FETCH_ATTEMPTS => {
                    tracing::warn!(layer = %self.file_name, timeline = %self.id(), %error, "waiting for room");
                    environment.room.ask(self.file_size).await;
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn fetch_through(&self, environment: &Environment, temporary: PathBuf) -> Result<(), StorageError> {
        let size = environment.remote.get_to_file(&self.remote_key, &temporary).await?;
        if size != self.file_size {
            let reason = format!("it has {size} bytes, the index says {}", self.file_size);
            return Err(StorageError::DamagedObject { key: self.remote_key.to_string(), reason });
        }
        let (fs, target) = (environment.fs.clone(), self.path.clone());
        run_blocking(move || {
            let file = File::open(&temporary).map_err(StorageError::io("open", &temporary))?;
            fs.sync_data(&file, &temporary)?;
            Ok::<_, StorageError>(fs.rename_durably(&temporary, &target)?)
        })
        .await?;
        self.set_local(true);
        environment.metrics.layer_downloaded_bytes.inc_by(size);
        Ok(())
    }
}

impl Drop for DiskLayer {
    fn drop(&mut self) {
        self.set_local(false);
        // Nobody uploads it any more.
        self.set_uploaded();
        if self.obsolete.load(Ordering::Acquire) {
            // Best effort: what stays is removed at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A layer as one read uses it: blocks in the cache are of this reader alone.
pub(in crate::storage) type OpenLayer = (Arc<LayerReader<File>>, BlockCache);

/// The layers that one read has open, with the blocks it has met.
#[derive(Default)]
pub(in crate::storage) struct LayerSession(HashMap<PathBuf, OpenLayer>);

impl LayerSession {
    /// A read through more layers than this opens some of them more than once.
    const LAYERS: usize = 256;

    /// None: the layer must be fetched first.
    pub(in crate::storage) fn open(
        &mut self,
        layer: &Arc<DiskLayer>,
    ) -> Result<Option<&mut OpenLayer>, StorageError> {
        if !self.0.contains_key(&layer.path) {
            let Some(reader) = layer.reader()? else { return Ok(None) };
            if self.0.len() >= Self::LAYERS {
                self.0.clear();
            }
            self.0.insert(layer.path.clone(), (reader, BlockCache::default()));
        }
        Ok(self.0.get_mut(&layer.path))
    }
}
