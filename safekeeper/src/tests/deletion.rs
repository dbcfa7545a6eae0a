//! A timeline is deleted while everybody uses it, and nothing of it comes back.

use safekeeper_api::replication::PageserverFeedback;

use super::offload::{first_id, storage, until};
use super::*;
use crate::timeline::{LookupError, Scope};

async fn objects(remote: &Arc<dyn remote_storage::RemoteStorage>) -> usize {
    remote.list(None, remote_storage::ListMode::Recursive).await.unwrap().objects.len()
}

fn directory(place: &Path) -> std::path::PathBuf {
    crate::datadir::timeline_directory(&place.join(format!("sk{}", first_id())), identity().ttid)
}

#[tokio::test]
async fn what_is_deleted_is_gone_here_and_in_object_storage() {
    let place = tempfile::tempdir().unwrap();
    let remote = storage(place.path()).await;
    let (safekeeper, _) = Safekeeper::start_offloading(first_id(), place.path(), remote.clone()).await;
    let mut proposer = safekeeper.new_timeline().await;
    proposer.write_up_to(1, START, Lsn(3 * SEGMENT + 5000), 400_000).await;
    let ttid = identity().ttid;
    // Somebody holds it, and a proposer is connected.
    let timeline = safekeeper.manager.get(ttid).await.unwrap();
    until(&timeline, |positions| positions.backup_lsn == Lsn(3 * SEGMENT)).await;
    assert_eq!(objects(&remote).await, 2);

    // This safekeeper alone gives it up: object storage keeps the WAL.
    assert!(safekeeper.manager.delete(ttid, Scope::OnlyLocal).await.unwrap());
    assert_eq!(objects(&remote).await, 2);
    assert!(!directory(place.path()).exists());
    assert!(matches!(safekeeper.manager.get(ttid).await, Err(LookupError::NotFound(_))));
    timeline.note_pageserver(PageserverFeedback::default()).await.expect_err("its owner has ended");
    assert!(timeline.offloading().await.is_none(), "nobody offloads what was deleted");
    let closed = tokio::time::timeout(Duration::from_secs(10), proposer.reader.next()).await;
    assert!(!matches!(closed.expect("the proposer is told"), Ok(Some(_))));

    // Whoever asks again means the rest.
    assert!(!safekeeper.manager.delete(ttid, Scope::Everything).await.unwrap());
    assert_eq!(objects(&remote).await, 0);

    // The same id may be used again, from nothing.
    let (anew, is_new) = safekeeper.manager.create(spec()).await.unwrap();
    assert!(is_new);
    assert_eq!(anew.positions().flush_lsn, START);
    drop(anew);
    assert_eq!(safekeeper.manager.delete_tenant(ttid.tenant_id).await.unwrap(), 1);
    assert_eq!(safekeeper.manager.delete_tenant(ttid.tenant_id).await.unwrap(), 0);
    safekeeper.stop().await;

    let (safekeeper, _) = Safekeeper::start_offloading(first_id(), place.path(), remote.clone()).await;
    assert_eq!(safekeeper.manager.summaries(), []);
    safekeeper.stop().await;
}

/// An evicted timeline, whose WAL is in object storage only; and what a crash leaves of a deletion.
#[tokio::test]
async fn an_evicted_timeline_goes_and_leftovers_go_at_the_next_start() {
    let place = tempfile::tempdir().unwrap();
    let remote = storage(place.path()).await;
    let idle = Settings {
        remote: Some(remote.clone()),
        evict_after: Duration::ZERO,
        ..settings(first_id(), &place.path().join(format!("sk{}", first_id())))
    };
    let safekeeper = Safekeeper::start_with(idle).await;
    let mut proposer = safekeeper.new_timeline().await;
    proposer.write_up_to(1, START, START + 5000, 400).await;
    drop(proposer);
    let ttid = identity().ttid;
    let evicted = tokio::time::timeout(Duration::from_secs(20), async {
        while safekeeper.manager.resident(ttid).unwrap().is_some() {
            safekeeper.manager.evict(ttid).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    evicted.await.expect("it is evicted");
    assert_eq!(objects(&remote).await, 1, "the partial segment");
    assert!(safekeeper.manager.delete(ttid, Scope::Everything).await.unwrap());
    assert_eq!(objects(&remote).await, 0);
    assert!(matches!(safekeeper.manager.resident(ttid), Err(LookupError::NotFound(_))));

    safekeeper.manager.create(spec()).await.unwrap();
    safekeeper.stop().await;
    let removed = directory(place.path()).with_extension("removed");
    std::fs::rename(directory(place.path()), &removed).unwrap();
    let (safekeeper, _) = Safekeeper::start_offloading(first_id(), place.path(), remote.clone()).await;
    assert!(!removed.exists());
    assert_eq!(safekeeper.manager.summaries(), []);
    safekeeper.stop().await;
}
