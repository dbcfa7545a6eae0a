//! What is put is read, wherever it lies.

use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use pageserver::storage::{Reconstruct, Redo, StorageError, TimelineMetadata, Value};
use types::{Key, KeyKind, Lsn};

use super::support::*;

#[tokio::test]
async fn versions_are_found_in_memory_and_in_files() {
    let disk = Disk::new();
    let manager = disk.open().await;
    let timeline = root(&manager).await;
    let will_init = Value::Delta { will_init: true, change: Bytes::from_static(b"init") };
    let batches = [
        batch(1100, vec![(block(1), 1050, change("a")), (block(1), 1100, change("b"))]),
        batch(1200, vec![(block(1), 1200, change("c")), (block(1), 1200, change("d"))]),
        batch(1300, vec![(block(1), 1300, will_init)]),
        batch(1400, vec![(block(1), 1400, change("e"))]),
        batch(1500, vec![]),
    ];
    for flush in [false, true] {
        if !flush {
            for batch in &batches {
                timeline.put_batch(batch.clone()).await.unwrap();
            }
        } else {
            timeline.flush_and_upload().await.unwrap();
            assert_eq!(timeline.remote_consistent_lsn(), Lsn(1500));
            assert_eq!((timeline.stats().layers, timeline.stats().open_layer_bytes), (2, 0));
        }
        for (lsn, expected) in [
            (1000, vec!["1000 page 1"]),
            (1050, vec!["1000 page 1", "1050 a"]),
            (1199, vec!["1000 page 1", "1050 a", "1100 b"]),
            (1200, vec!["1000 page 1", "1050 a", "1100 b", "1200 c", "1200 d"]),
            (1300, vec!["1300 init"]),
            (9999, vec!["1300 init", "1400 e"]),
        ] {
            let found = timeline.get_reconstruct(block(1), Lsn(lsn)).await.unwrap();
            assert_eq!(text(&found), expected, "at {lsn}, flushed: {flush}");
        }
        let run = timeline.get_reconstruct_run(block(0), 12, Lsn(1100)).await.unwrap();
        assert_eq!(run.len(), 12);
        assert_eq!(text(&run[0]), ["1000 page 0"]);
        assert_eq!(text(&run[1]).len(), 3);
        assert_eq!(text(&run[9]), ["1000 page 9"]);
        assert!(run[10].is_empty() && run[11].is_empty());
    }
    assert!(matches!(
        timeline.get_reconstruct(block(1), Lsn(999)).await,
        Err(StorageError::BeforeHistory { start: INITDB, .. })
    ));
}

#[tokio::test]
async fn a_batch_that_does_not_follow_is_refused() {
    let disk = Disk::new();
    let manager = disk.open().await;
    let timeline = root(&manager).await;
    timeline.put_batch(batch(1100, vec![(block(1), 1100, change("a"))])).await.unwrap();
    for bad in [
        batch(1050, vec![]),
        batch(1100, vec![(block(1), 1100, change("again"))]),
        batch(1200, vec![(block(1), 1100, change("not above"))]),
        batch(1200, vec![(block(1), 1201, change("behind the end"))]),
    ] {
        assert!(matches!(timeline.put_batch(bad).await, Err(StorageError::BadBatch { .. })));
    }
    assert_eq!(timeline.last_record_lsn(), Lsn(1100));
    assert_eq!(text(&timeline.get_reconstruct(block(1), Lsn(9999)).await.unwrap()).len(), 2);
}

#[tokio::test]
async fn waiting_for_an_lsn_ends_when_it_comes_or_time_is_up() {
    let disk = Disk::new();
    let manager = disk.open().await;
    let timeline = root(&manager).await;
    let waited = timeline.wait_lsn(Lsn(1100), std::time::Duration::from_millis(20)).await;
    assert!(matches!(
        waited,
        Err(StorageError::WaitLsnTimeout { wanted: Lsn(1100), last_record_lsn: INITDB, .. })
    ));
    let (waited, put) = tokio::join!(timeline.wait_lsn(Lsn(1100), PATIENCE), async {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        timeline.put_batch(batch(1150, vec![])).await
    });
    waited.unwrap();
    put.unwrap();
    assert_eq!(timeline.last_and_prev_record_lsn(), (Lsn(1150), Lsn(1149)));
}

#[tokio::test]
async fn a_new_timeline_is_cut_into_image_layers() {
    let mut disk = Disk::new();
    disk.config.image_layer_size = 20_000;
    let manager = disk.open().await;
    manager.create_tenant(TENANT).await.unwrap();
    let page =
        |n: u32| Bytes::from((0..8192u32).map(|i| (i.wrapping_mul(n + 77) >> 3) as u8).collect::<Vec<_>>());
    let pages = move || (0..100).map(move |n| (block(n * 3), page(n)));

    let backwards = pages().rev().map(Ok::<_, Infallible>);
    let refused = manager.create_root_timeline(ttid(1), metadata(), Lsn(0), backwards).await;
    assert!(matches!(refused, Err(StorageError::KeyOrder { .. })));
    let broken = pages().take(50).map(Ok).chain([Err("the archive is cut off")]);
    let refused = manager.create_root_timeline(ttid(1), metadata(), Lsn(0), broken).await;
    assert!(refused.err().unwrap().to_string().contains("cut off"));

    let pages_again = pages().map(Ok::<_, Infallible>);
    let timeline = manager.create_root_timeline(ttid(1), metadata(), Lsn(0), pages_again).await.unwrap();
    assert!(timeline.stats().layers > 3, "{:?}", timeline.stats());
    manager.shutdown().await.unwrap();
    let timeline = disk.open().await.get_timeline(ttid(1)).unwrap();
    for (key, expected) in pages() {
        let found = timeline.get_reconstruct(key, INITDB).await.unwrap();
        assert_eq!(found.image, Some((INITDB, expected)));
        assert!(timeline.get_reconstruct(key.next().unwrap(), INITDB).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn ten_thousand_relations_are_listed_quickly() {
    let mut disk = Disk::new();
    disk.config.checkpoint_distance = 1 << 20;
    let manager = disk.open().await;
    let timeline = root(&manager).await;
    let size = |blocks: u32| Value::Image(Bytes::copy_from_slice(&blocks.to_le_bytes()));
    for round in 0..10 {
        let lsn = 2000 + round * 1000;
        let sizes = (0..10_000).map(|rel| (rel_size(rel), lsn, size(round as u32)));
        let blocks = (0..2_000).map(|n| (block(n), lsn, change("some change of a page")));
        timeline.put_batch(batch(lsn, sizes.chain(blocks).collect())).await.unwrap();
    }
    timeline.put_batch(batch(20_000, vec![(rel_size(7), 20_000, Value::Image(Bytes::new()))])).await.unwrap();
    eventually("all but the last layer are written", || timeline.stats().frozen_layers == 0).await;
    let start = std::time::Instant::now();
    let sizes = timeline.scan(Key::kind_range(KeyKind::RelSize), Lsn(20_000)).await.unwrap();
    let took = start.elapsed();
    assert_eq!(sizes.len(), 9_999);
    assert!(sizes.iter().all(|(key, size)| *key != rel_size(7) && size[..] == 9u32.to_le_bytes()));
    assert!(took.as_millis() < 1000, "listing took {took:?} over {} layers", timeline.stats().layers);
    let before = timeline.scan(Key::kind_range(KeyKind::RelSize), Lsn(5500)).await.unwrap();
    assert_eq!(before.len(), 10_000);
    assert!(before.iter().all(|(_, size)| size[..] == 3u32.to_le_bytes()));
}

/// A page is the list of its changes.
struct Concatenate;

impl Redo for Concatenate {
    fn value_of(&self, _timeline: &TimelineMetadata, _key: Key, found: &Reconstruct) -> Option<Bytes> {
        let image = found.image.iter().chain(&found.deltas).map(|(_, bytes)| bytes.as_ref());
        Some(image.collect::<Vec<_>>().concat().into())
    }

    fn written_blocks(&self, size: &[u8]) -> Vec<Range<u32>> {
        written(size)
    }
}

#[tokio::test]
async fn a_page_that_changes_often_gets_images() {
    let mut disk = Disk::new();
    disk.config.image_after_changes = 20;
    // What a flush does, alone.
    disk.config.level0_threshold = 100;
    let manager = disk.open_with_redo(Arc::new(Concatenate)).await;
    let timeline = root(&manager).await;
    let mut expected = "page 1".to_owned();
    for round in 0..5 {
        for n in 1..=30 {
            let lsn = 1000 + round * 100 + n;
            let mut entries = vec![(block(1), lsn, change("+"))];
            entries.extend((n <= 10).then(|| (block(2), lsn, change("-"))));
            timeline.put_batch(batch(lsn, entries)).await.unwrap();
            expected.push('+');
        }
        timeline.flush_and_upload().await.unwrap();
        let last = timeline.last_record_lsn();
        let hot = timeline.get_reconstruct(block(1), Lsn(5000)).await.unwrap();
        assert_eq!((hot.image, hot.deltas), (Some((last, expected.clone().into())), vec![]));
        let earlier = timeline.get_reconstruct(block(1), Lsn(last.0 - 1)).await.unwrap();
        assert_eq!(earlier.deltas.len(), 29);
        let cold = timeline.get_reconstruct(block(2), Lsn(5000)).await.unwrap();
        assert_eq!(cold.deltas.len() as u64, 10 * (round + 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_miss_nothing_while_layers_move() {
    let mut disk = Disk::new();
    disk.config.checkpoint_distance = 10_000;
    disk.config.level0_threshold = 2;
    let manager = disk.open().await;
    let timeline = root(&manager).await;
    let writer = Arc::clone(&timeline);
    let writing = tokio::spawn(async move {
        for lsn in 1001..=3000 {
            let entries = vec![(block(1), lsn, change("+")), (rel_size(lsn as u32), lsn, image("size"))];
            writer.put_batch(batch(lsn, entries)).await.unwrap();
        }
    });
    let mut reads = 0;
    while !writing.is_finished() {
        let last = timeline.last_record_lsn();
        let found = timeline.get_reconstruct(block(1), last).await.unwrap();
        let lsns: Vec<u64> = found.deltas.iter().map(|(lsn, _)| lsn.0).collect();
        assert_eq!(lsns, (1001..=last.0).collect::<Vec<_>>());
        let sizes = timeline.scan(Key::kind_range(KeyKind::RelSize), last).await.unwrap();
        assert_eq!(sizes.len() as u64, last.0 - INITDB.0);
        reads += 1;
    }
    writing.await.unwrap();
    let merged =
        |path: &std::path::PathBuf| !path.file_name().unwrap().to_str().unwrap().starts_with(&"0".repeat(36));
    assert!(reads > 10 && disk.layer_files(1).iter().any(merged), "{reads} reads, {:?}", timeline.stats());
}

/// What a read is said to go through is what it goes through.
#[tokio::test]
async fn a_read_is_explained() {
    let disk = Disk::new();
    let manager = disk.open().await;
    let main = root(&manager).await;
    main.put_batch(batch(1100, vec![(block(1), 1050, change("a")), (block(1), 1100, change("b"))]))
        .await
        .unwrap();
    main.flush_and_upload().await.unwrap();
    let branch = manager.branch_timeline(ttid(2), ttid(1).timeline_id, None).await.unwrap();
    branch.put_batch(batch(1200, vec![(block(1), 1200, change("c"))])).await.unwrap();

    let plan = branch.explain_read(block(1), Lsn(1200)).await.unwrap();
    let layers: Vec<(u8, bool, usize, usize)> = plan
        .layers
        .iter()
        .map(|layer| {
            let number = if layer.timeline == ttid(1) { 1 } else { 2 };
            (number, layer.file.is_some(), layer.images, layer.changes)
        })
        .collect();
    // The branch's memory, then the ancestor's memory, its delta layer and its image layer.
    assert_eq!(layers, [(2, false, 0, 1), (1, false, 0, 0), (1, true, 0, 2), (1, true, 1, 0)]);
    assert_eq!((plan.image_lsn, plan.changes, plan.change_bytes), (Some(INITDB), 3, 3));
    assert_eq!(plan.layers[0].lsns, Lsn(1101)..Lsn(1201));
    let text = plan.to_string();
    assert!(text.starts_with("3 changes of 3 bytes on an image at 0/3E8, from 4 layers: memory"), "{text}");

    let nothing = branch.explain_read(block(500), Lsn(1200)).await.unwrap();
    assert_eq!((nothing.image_lsn, nothing.changes), (None, 0));
    manager.shutdown().await.unwrap();
}
