//! Timelines that are put away, and come back.

use pageserver::storage::StorageError;
use types::Lsn;

use super::support::*;

/// What it has lies in remote storage, where it costs little.
#[tokio::test]
async fn nothing_is_fetched_to_collect_what_an_archived_timeline_has() {
    let disk = Disk::new();
    let manager = disk.open().await;
    let main = root(&manager).await;
    main.put_batch(batch(1100, vec![committed(1100, 1)])).await.unwrap();
    main.flush_and_upload().await.unwrap();
    let branch = manager.branch_timeline(ttid(2), ttid(1).timeline_id, None).await.unwrap();
    branch.put_batch(batch(1200, vec![committed(1200, 2)])).await.unwrap();
    manager.archive_timeline(ttid(2)).await.unwrap();
    collect_all(&manager).await.unwrap();
    assert_eq!((main.gc_cutoff(), disk.layer_files(2).len()), (Lsn(1100), 0));
    let branch = manager.unarchive_timeline(ttid(2)).await.unwrap();
    collect_all(&manager).await.unwrap();
    assert_eq!(branch.gc_cutoff(), Lsn(1200));
    assert_ne!(disk.layer_files(2).len(), 0);
    manager.shutdown().await.unwrap();
}

#[tokio::test]
async fn branches_are_archived_before_what_they_left_and_come_back_after_it() {
    let disk = Disk::new();
    let manager = disk.open().await;
    let main = root(&manager).await;
    main.put_batch(batch(1100, vec![(block(1), 1100, change("a"))])).await.unwrap();
    let branch = manager.branch_timeline(ttid(2), ttid(1).timeline_id, None).await.unwrap();
    // Not flushed yet: it is by then.
    branch.put_batch(batch(1200, vec![(block(1), 1200, change("b"))])).await.unwrap();
    let error = manager.archive_timeline(ttid(1)).await.unwrap_err();
    assert!(matches!(error, StorageError::HasBranches { .. }), "{error}");
    manager.archive_timeline(ttid(2)).await.unwrap();
    assert_eq!((branch.remote_consistent_lsn(), disk.layer_files(2).len()), (Lsn(1200), 0));
    manager.archive_timeline(ttid(1)).await.unwrap();
    manager.archive_timeline(ttid(1)).await.expect("it may be asked twice");
    assert_eq!((main.remote_consistent_lsn(), disk.layer_files(1).len()), (Lsn(1100), 0));
    let refused = manager.branch_timeline(ttid(3), ttid(1).timeline_id, None).await.map(|_| ()).unwrap_err();
    assert!(matches!(refused, StorageError::Archived(id) if id == ttid(1)), "{refused}");
    manager.shutdown().await.unwrap();

    let manager = disk.open().await;
    assert!(manager.is_archived(ttid(1)) && manager.is_archived(ttid(2)));
    let error = manager.unarchive_timeline(ttid(2)).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, StorageError::Archived(id) if id == ttid(1)), "{error}");
    manager.unarchive_timeline(ttid(1)).await.unwrap();
    let branch = manager.unarchive_timeline(ttid(2)).await.unwrap();
    assert!(!manager.is_archived(ttid(1)) && !manager.is_archived(ttid(2)));
    let found = branch.get_reconstruct(block(1), Lsn(1200)).await.unwrap();
    assert_eq!(text(&found), ["1000 page 1", "1100 a", "1200 b"]);
    branch.put_batch(batch(1300, Vec::new())).await.unwrap();
    manager.archive_timeline(ttid(2)).await.unwrap();
    manager.delete_timeline(ttid(2)).await.expect("an archived one may be deleted");
    manager.shutdown().await.unwrap();
    let manager = disk.open().await;
    assert!(!manager.is_archived(ttid(1)) && !manager.is_archived(ttid(2)));
    manager.shutdown().await.unwrap();
}
