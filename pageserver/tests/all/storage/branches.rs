//! Branches read what their ancestor had, and neither sees what the other writes.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use pageserver::storage::{Reach, Reconstruct, Redo, StorageError, TenantManager, TimelineMetadata};
use types::{Key, KeyKind, Lsn, TenantTimelineId, TimelineId};

use super::support::*;

#[tokio::test]
async fn neither_side_sees_the_other() {
    let disk = Disk::new();
    let manager = disk.open().await;
    let main = root(&manager).await;
    main.put_batch(batch(1100, vec![(block(1), 1100, change("a")), (rel_size(1), 1100, image("one"))]))
        .await
        .unwrap();
    main.put_batch(batch(1200, vec![(block(1), 1200, change("late"))])).await.unwrap();
    let branch = manager.branch_timeline(ttid(2), ttid(1).timeline_id, Some(Lsn(1100))).await.unwrap();
    assert_eq!(branch.ancestor(), Some((ttid(1).timeline_id, Lsn(1100))));
    assert_eq!((branch.last_record_lsn(), branch.start_lsn()), (Lsn(1100), Lsn(1100)));
    assert_eq!(branch.prev_record_lsn(), Lsn::INVALID);
    branch
        .put_batch(batch(1200, vec![(block(1), 1200, change("b")), (rel_size(1), 1200, image(""))]))
        .await
        .unwrap();
    let nested = manager.branch_timeline(ttid(3), ttid(2).timeline_id, None).await.unwrap();
    assert_eq!(nested.last_and_prev_record_lsn(), (Lsn(1200), Lsn(1199)));
    nested.put_batch(batch(1300, vec![(block(1), 1300, change("c"))])).await.unwrap();
    main.put_batch(batch(1300, vec![(rel_size(2), 1300, image("two"))])).await.unwrap();

    for restart in [false, true] {
        let manager = if restart {
            manager.shutdown().await.unwrap();
            disk.open().await
        } else {
            manager.clone()
        };
        for (number, expected) in [
            (1, vec!["1000 page 1", "1100 a", "1200 late"]),
            (2, vec!["1000 page 1", "1100 a", "1200 b"]),
            (3, vec!["1000 page 1", "1100 a", "1200 b", "1300 c"]),
        ] {
            let timeline = manager.get_timeline(ttid(number)).unwrap();
            assert_eq!(text(&timeline.get_reconstruct(block(1), Lsn(5000)).await.unwrap()), expected);
            assert_eq!(text(&timeline.get_reconstruct(block(1), INITDB).await.unwrap()), ["1000 page 1"]);
        }
        let sizes = async |number, lsn| {
            let timeline = manager.get_timeline(ttid(number)).unwrap();
            timeline.scan(Key::kind_range(KeyKind::RelSize), Lsn(lsn)).await.unwrap().len()
        };
        assert_eq!((sizes(1, 5000).await, sizes(2, 5000).await, sizes(2, 1150).await), (2, 0, 1));
        assert_eq!((sizes(3, 5000).await, sizes(3, 1150).await, sizes(3, 1050).await), (0, 1, 0));
    }
}

#[tokio::test]
async fn a_branch_survives_its_ancestor_losing_memory() {
    let disk = Disk::new();
    let manager = disk.open().await;
    let main = root(&manager).await;
    let lost = batch(1100, vec![(block(1), 1100, change("a"))]);
    main.put_batch(lost.clone()).await.unwrap();
    manager.branch_timeline(ttid(2), ttid(1).timeline_id, None).await.unwrap();
    manager.abandon().await;

    let manager = disk.open().await;
    let (main, branch) = (manager.get_timeline(ttid(1)).unwrap(), manager.get_timeline(ttid(2)).unwrap());
    assert_eq!((main.last_record_lsn(), branch.last_record_lsn()), (INITDB, Lsn(1100)));
    assert_eq!(branch.prev_record_lsn(), Lsn(1099));
    // The branch must not answer without its ancestor's WAL, which comes again from the safekeepers.
    let (found, put) = tokio::join!(branch.get_reconstruct(block(1), Lsn(1100)), async {
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        main.put_batch(lost).await
    });
    put.unwrap();
    assert_eq!(text(&found.unwrap()), ["1000 page 1", "1100 a"]);
}

#[tokio::test]
async fn mistakes_are_told() {
    let disk = Disk::new();
    let manager = disk.open().await;
    let main = root(&manager).await;
    let branch = async |number, ancestor: TimelineId, lsn| {
        manager.branch_timeline(ttid(number), ancestor, lsn).await.err().unwrap()
    };
    let main_id = main.id().timeline_id;
    assert!(matches!(branch(1, main_id, None).await, StorageError::TimelineExists(_)));
    assert!(matches!(branch(2, TimelineId([9; 16]), None).await, StorageError::TimelineNotFound(_)));
    assert!(branch(2, main_id, Some(Lsn(999))).await.to_string().contains("starts at 0/3E8"));
    assert!(branch(2, main_id, Some(Lsn(1001))).await.to_string().contains("only up to 0/3E8"));
    assert!(matches!(manager.create_tenant(TENANT).await, Err(StorageError::TenantExists(_))));
    let nobody = TenantTimelineId::new(types::TenantId([1; 16]), main_id);
    assert!(matches!(manager.get_timeline(nobody), Err(StorageError::TenantNotFound(_))));
    assert_eq!((manager.list_tenants(), manager.list_timelines(TENANT).unwrap().len()), (vec![TENANT], 1));
}

/// Where a branch has images of its own, what its ancestor has below them counts no more, also while it has one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branch_that_cannot_be_detached_lists_nothing_that_was_dropped() {
    /// Can make all values but one.
    #[derive(Debug)]
    struct AllButOne;

    impl Redo for AllButOne {
        fn value_of(&self, _: &TimelineMetadata, key: Key, found: &Reconstruct) -> Option<Bytes> {
            found.image.as_ref().map(|(_, image)| image.clone()).filter(|_| key != rel_size(20))
        }

        fn written_blocks(&self, size: &[u8]) -> Vec<Range<u32>> {
            written(size)
        }
    }

    let mut disk = Disk::new();
    // A run of keys for each range that layers differ in.
    disk.config.compaction_job_bytes = 1;
    let manager = disk.open_with_redo(Arc::new(AllButOne)).await;
    let ancestor = root(&manager).await;
    let sizes = [3, 4, 5].map(|rel| (rel_size(rel), 1100, image("old")));
    let unknown = (rel_size(20), 1100, change("+"));
    ancestor.put_batch(batch(1100, sizes.into_iter().chain([unknown]).collect())).await.unwrap();
    ancestor.flush_and_upload().await.unwrap();
    let branch = manager.branch_timeline(ttid(2), ttid(1).timeline_id, Some(Lsn(1100))).await.unwrap();
    let changes = vec![(rel_size(3), 1120, image("")), (rel_size(5), 1120, image("new"))];
    branch.put_batch(batch(1120, changes)).await.unwrap();
    branch.flush_and_upload().await.unwrap();
    let listed = async || -> Vec<Key> {
        let found = branch.scan(rel_size(0)..rel_size(12), Lsn(1120)).await.unwrap();
        found.into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(listed().await, [rel_size(4), rel_size(5)]);

    let cutoffs = [(ttid(2).timeline_id, Lsn(1120))].into();
    manager.collect_garbage(TENANT, &cutoffs).await.unwrap();
    let before = branch.stats().layers;
    let refused = manager.detach_ancestor(ttid(2)).await.unwrap_err();
    assert!(matches!(refused, StorageError::NotWhole { .. }), "{refused}");
    assert!(branch.stats().layers > before, "nothing was copied");
    assert_eq!(listed().await, [rel_size(4), rel_size(5)]);
}

/// Where a table was dropped, and another has come since, the ancestor has no value but in its changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_detached_branch_has_what_came_where_something_was_dropped() {
    let disk = Disk::new();
    let manager = disk.open_with_redo(Arc::new(Whole)).await;
    manager.create_tenant(TENANT).await.unwrap();
    let two = Bytes::copy_from_slice(&2u32.to_le_bytes());
    let entries = [(page(20, 0), "dropped".into()), (page(20, 1), "too".into()), (rel_size(20), two)];
    // So much else that the few changes are no reason to write all values once more.
    let others = (100..1100).map(|rel| (rel_size(rel), format!("\0\0\0\0 of {rel}").into()));
    let entries = entries.into_iter().chain(others).map(Ok::<_, std::convert::Infallible>);
    let main = manager.create_root_timeline(ttid(1), metadata(), Lsn(990), entries).await.unwrap();
    main.put_batch(batch(1100, vec![(rel_size(20), 1100, image(""))])).await.unwrap();
    main.flush_and_upload().await.unwrap();
    let before = main.stats();
    let cutoffs = [(ttid(1).timeline_id, Lsn(1100))].into();
    assert!(manager.collect_garbage(TENANT, &cutoffs).await.unwrap() > 0, "{before:?}");
    assert!(main.get_reconstruct(page(20, 0), Lsn(1100)).await.unwrap().is_empty(), "it is there");

    let grown = vec![(page(21, 0), 1200, image("new")), (rel_size(21), 1200, blocks(1))];
    main.put_batch(batch(1200, grown)).await.unwrap();
    main.flush_and_upload().await.unwrap();
    let branch = manager.branch_timeline(ttid(2), ttid(1).timeline_id, Some(Lsn(1200))).await.unwrap();
    manager.detach_ancestor(ttid(2)).await.unwrap();
    assert_eq!(text(&branch.get_reconstruct(page(21, 0), Lsn(1200)).await.unwrap()), ["1200 new"]);
}

/// Main has written block 1 at 1100, where branches of it begin.
async fn with_a_page_before(disk: &Disk) -> Arc<TenantManager> {
    let manager = disk.open_with_redo(Arc::new(Whole)).await;
    let main = root(&manager).await;
    main.put_batch(batch(1100, vec![(block(1), 1100, image("before"))])).await.unwrap();
    main.flush_and_upload().await.unwrap();
    manager
}

/// A branch of a branch, at the LSN where that one begins itself, has all from there; so it has afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_detached_branch_has_what_branches_at_its_beginning_need() {
    let disk = Disk::new();
    let manager = with_a_page_before(&disk).await;
    let branch = manager.branch_timeline(ttid(2), ttid(1).timeline_id, Some(Lsn(1100))).await.unwrap();
    branch.put_batch(batch(1200, vec![(block(1), 1200, image("after"))])).await.unwrap();
    branch.flush_and_upload().await.unwrap();
    manager.collect_garbage(TENANT, &[(ttid(2).timeline_id, Lsn(1200))].into()).await.unwrap();
    let other = manager.branch_timeline(ttid(3), ttid(2).timeline_id, Some(Lsn(1100))).await.unwrap();
    manager.detach_ancestor(ttid(2)).await.unwrap();
    assert_eq!(text(&other.get_reconstruct(block(1), Lsn(1100)).await.unwrap()), ["1100 before"]);
    assert_eq!(text(&branch.get_reconstruct(block(1), Lsn(1200)).await.unwrap()), ["1200 after"]);
}

/// So stands an endpoint that shows what a branch began with, and a replica before the first checkpoint.
#[tokio::test]
async fn a_lease_of_where_a_branch_begins_is_of_the_branch_too() {
    let disk = Disk::new();
    let manager = with_a_page_before(&disk).await;
    let mut branches = Vec::new();
    for number in [2, 3] {
        let begin = Some(Lsn(1100));
        let branch = manager.branch_timeline(ttid(number), ttid(1).timeline_id, begin).await.unwrap();
        for lsn in [1200, 1300] {
            branch.put_batch(batch(lsn, vec![(block(1), lsn, image("after"))])).await.unwrap();
        }
        branch.flush_and_upload().await.unwrap();
        branches.push(branch);
    }
    let collect = async |number| {
        manager.collect_garbage(TENANT, &[(ttid(number).timeline_id, Lsn(1300))].into()).await.unwrap();
    };
    // Who reads on finds what comes behind.
    branches[0].lease_lsn(Lsn(1100), Reach::From, PATIENCE).unwrap();
    collect(2).await;
    assert!(branches[0].gc_cutoff() <= Lsn(1100), "{}", branches[0].gc_cutoff());
    assert_eq!(text(&branches[0].get_reconstruct(block(1), Lsn(1200)).await.unwrap()), ["1200 after"]);

    // Who stands still goes on when the branch leaves its ancestor.
    collect(3).await;
    assert_eq!(branches[1].gc_cutoff(), Lsn(1300));
    branches[1].lease_lsn(Lsn(1100), Reach::At, PATIENCE).unwrap();
    manager.detach_ancestor(ttid(3)).await.unwrap();
    assert_eq!(text(&branches[1].get_reconstruct(block(1), Lsn(1100)).await.unwrap()), ["1100 before"]);
    let refused = branches[1].get_reconstruct(block(1), Lsn(1200)).await;
    assert!(matches!(refused, Err(StorageError::Collected { .. })), "{refused:?}");
}

/// Nothing else changes on its timeline before the pageserver ends and the branch goes.
#[tokio::test]
async fn what_is_leased_where_a_branch_begins_outlives_the_branch_and_a_start() {
    let disk = Disk::new();
    let manager = with_a_page_before(&disk).await;
    let (main, begin) = (manager.get_timeline(ttid(1)).unwrap(), Lsn(1100));
    manager.branch_timeline(ttid(2), ttid(1).timeline_id, Some(begin)).await.unwrap();
    main.put_batch(batch(1200, vec![(block(1), 1200, image("after"))])).await.unwrap();
    let cutoffs = [(ttid(1).timeline_id, Lsn(1200))].into();
    main.flush_and_upload().await.unwrap();
    manager.collect_garbage(TENANT, &cutoffs).await.unwrap();
    main.flush_and_upload().await.unwrap();
    assert_eq!(main.gc_cutoff(), Lsn(1200));
    main.lease_lsn(begin, Reach::At, PATIENCE).unwrap();
    manager.shutdown().await.unwrap();

    let manager = disk.open_with_redo(Arc::new(Whole)).await;
    manager.delete_timeline(ttid(2)).await.unwrap();
    manager.collect_garbage(TENANT, &cutoffs).await.unwrap();
    let main = manager.get_timeline(ttid(1)).unwrap();
    assert_eq!(text(&main.get_reconstruct(block(1), begin).await.unwrap()), ["1100 before"]);
    manager.shutdown().await.unwrap();
}

/// Pages without changes.
struct Whole;

impl Redo for Whole {
    fn value_of(&self, _: &TimelineMetadata, _: Key, found: &Reconstruct) -> Option<Bytes> {
        found.image.as_ref().map(|(_, image)| image.clone())
    }

    fn written_blocks(&self, size: &[u8]) -> Vec<Range<u32>> {
        written(size)
    }
}

/// An import takes hours.
#[tokio::test]
async fn a_timeline_that_is_being_filled_holds_up_no_other() {
    let disk = Disk::new();
    let manager = disk.open().await;
    let main = root(&manager).await;
    main.put_batch(batch(1100, vec![committed(1100, 1)])).await.unwrap();
    main.flush_and_upload().await.unwrap();
    let (sender, entries) = std::sync::mpsc::channel::<Result<_, std::convert::Infallible>>();
    sender.send(Ok((block(1), "imported".into()))).unwrap();
    let importing = {
        let manager = manager.clone();
        tokio::spawn(async move {
            manager.create_root_timeline(ttid(2), metadata(), Lsn(990), entries.into_iter()).await
        })
    };
    eventually("it has begun", || disk.timeline_dir(2).exists()).await;
    let soon = |what| tokio::time::timeout(PATIENCE, what);
    soon(Box::pin(manager.branch_timeline(ttid(3), ttid(1).timeline_id, None))).await.unwrap().unwrap();
    collect_all(&manager).await.unwrap();
    assert_eq!(main.gc_cutoff(), Lsn(1100));
    // What is for the same one waits, and finds it.
    let deleting = {
        let manager = manager.clone();
        tokio::spawn(async move { manager.delete_timeline(ttid(2)).await })
    };
    let again = manager.branch_timeline(ttid(2), ttid(1).timeline_id, None);
    let moment = std::time::Duration::from_millis(200);
    assert!(tokio::time::timeout(moment, again).await.is_err() && !deleting.is_finished());
    drop(sender);
    let imported = importing.await.unwrap().unwrap();
    let found = imported.get_reconstruct(block(1), INITDB).await;
    if let Ok(found) = found {
        assert_eq!(text(&found), ["1000 imported"]);
    }
    deleting.await.unwrap().unwrap();
    assert!(matches!(manager.get_timeline(ttid(2)), Err(StorageError::TimelineNotFound(_))));
}
