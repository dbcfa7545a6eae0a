//! Layers go from the local disk and come back when they are read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use durable_fs::{DurableFs, Faults, Step};
use pageserver::storage::{EvictableLayer, TenantManager};
use remote_storage::Operation;
use types::Lsn;

use super::support::*;

fn evict_all(manager: &TenantManager) -> usize {
    manager.evictable_layers().iter().filter_map(EvictableLayer::evict).count()
}

#[tokio::test]
async fn what_is_evicted_is_fetched_again_and_counted() {
    let disk = Disk::new();
    let manager = disk.open().await;
    let timeline = root(&manager).await;
    timeline.put_batch(batch(1100, vec![(block(1), 1100, change("a"))])).await.unwrap();
    timeline.flush_and_upload().await.unwrap();
    let files = disk.layer_files(1);
    let bytes: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
    assert_eq!((files.len(), manager.local_layer_bytes()), (2, bytes));

    assert_eq!(evict_all(&manager), 2);
    assert_eq!((disk.layer_files(1).len(), manager.local_layer_bytes()), (0, 0));
    assert!(manager.evictable_layers().is_empty());
    for _ in 0..2 {
        let found = timeline.get_reconstruct(block(1), Lsn(1100)).await.unwrap();
        assert_eq!(text(&found), ["1000 page 1", "1100 a"]);
        assert_eq!(disk.layer_files(1), files);
        assert_eq!(manager.local_layer_bytes(), bytes);
    }
    // What was read last goes last.
    let found = timeline.get_reconstruct(block(2), Lsn(1000)).await.unwrap();
    assert_eq!(text(&found), ["1000 page 2"]);
    manager.shutdown().await.unwrap();
    // After a restart what is there is counted, and what is not is not.
    std::fs::remove_file(&files[0]).unwrap();
    let manager = disk.open().await;
    assert_eq!(manager.local_layer_bytes(), files[1].metadata().unwrap().len());
    manager.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_object_storage_has_not_got_stays() {
    let disk = Disk::new();
    let away = Arc::new(AtomicBool::new(false));
    let judge = {
        let away = away.clone();
        move |operation, _: &str| operation == Operation::Put && away.load(Ordering::Relaxed)
    };
    let manager = disk.open_with_judge(judge).await;
    let timeline = root(&manager).await;
    away.store(true, Ordering::Relaxed);
    timeline.put_batch(batch(1100, vec![(block(1), 1100, change("a"))])).await.unwrap();
    timeline.flush_and_upload().await.unwrap_err();
    assert_eq!(evict_all(&manager), 1, "the image layer of the beginning");
    assert_eq!(disk.layer_files(1).len(), 1);
    let found = timeline.get_reconstruct(block(1), Lsn(1100)).await.unwrap();
    assert_eq!(text(&found), ["1000 page 1", "1100 a"]);
    away.store(false, Ordering::Relaxed);
    manager.shutdown().await.unwrap();
}

/// The disk is full until somebody makes room.
struct Full {
    /// Not the object store's, which is a directory beside it.
    workdir: PathBuf,
    on: AtomicBool,
    hits: AtomicUsize,
}

impl Faults for Full {
    fn before(&self, step: Step, path: &Path) -> io::Result<()> {
        if step == Step::Rename && path.starts_with(&self.workdir) && self.on.load(Ordering::SeqCst) {
            self.hits.fetch_add(1, Ordering::SeqCst);
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_layer_that_does_not_fit_waits_for_room() {
    let disk = Disk::new();
    let full = Arc::new(Full {
        workdir: disk.config.workdir.clone(),
        on: AtomicBool::new(false),
        hits: AtomicUsize::new(0),
    });
    let fs = DurableFs::with_faults(full.clone());
    let manager = disk.open_with(disk.store().await, fs).await;
    let timeline = root(&manager).await;
    timeline.put_batch(batch(1100, vec![(block(1), 1100, change("a"))])).await.unwrap();
    timeline.flush_and_upload().await.unwrap();
    assert_eq!(evict_all(&manager), 2);
    full.on.store(true, Ordering::SeqCst);
    // Nobody makes room.
    let error = timeline.get_reconstruct(block(1), Lsn(1100)).await.unwrap_err();
    assert!(error.is_disk_full(), "{error}");
    let before = full.hits.load(Ordering::SeqCst);

    let (evictor, disk_full) = (manager.clone(), full.clone());
    let making = tokio::spawn(async move {
        let bytes = evictor.room_wanted().await;
        disk_full.on.store(false, Ordering::SeqCst);
        evictor.room_made();
        bytes
    });
    tokio::task::yield_now().await;
    let found = timeline.get_reconstruct(block(1), Lsn(1100)).await.unwrap();
    assert_eq!(text(&found), ["1000 page 1", "1100 a"]);
    assert_eq!(full.hits.load(Ordering::SeqCst), before + 1);
    assert!(making.await.unwrap() > 0);
    manager.shutdown().await.unwrap();
}
