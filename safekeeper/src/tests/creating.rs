//! Making timelines and branches.

use super::*;

#[tokio::test]
async fn creating_is_idempotent_and_particular() {
    let place = tempfile::tempdir().unwrap();
    let safekeeper = Safekeeper::start(place.path()).await;
    assert!(safekeeper.manager.create(spec()).await.unwrap().1);
    assert!(!safekeeper.manager.create(spec()).await.unwrap().1);
    let different = TimelineSpec { start_lsn: START + 8, ..spec() };
    assert!(safekeeper.manager.create(different).await.is_err());
    for bad in [Lsn(0), Lsn(8), START + 1, Lsn(SEGMENT + 16), Lsn(SEGMENT + 8192 + 8)] {
        let ttid = TenantTimelineId { timeline_id: TimelineId([3; 16]), ..identity().ttid };
        let identity = TimelineIdentity { ttid, ..identity() };
        assert!(
            safekeeper.manager.create(TimelineSpec { identity, start_lsn: bad, ..spec() }).await.is_err(),
            "{bad}"
        );
    }
    safekeeper.stop().await;
}

#[tokio::test]
async fn a_branch_has_its_ancestors_bytes_before_its_start() {
    let place = tempfile::tempdir().unwrap();
    let safekeeper = Safekeeper::start(place.path()).await;
    safekeeper.manager.create(spec()).await.unwrap();
    let ttid = TenantTimelineId { timeline_id: TimelineId([3; 16]), ..identity().ttid };
    let mut wal = TestWal::new(START);
    let record = wal.record(20_000, 1);
    let end = wal.position();
    let ancestor = Some(identity().ttid.timeline_id);
    let branch = TimelineSpec {
        identity: TimelineIdentity { ttid, ..identity() },
        start_lsn: end,
        ancestor,
        ..spec()
    };
    let error = safekeeper.manager.create(branch.clone()).await.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("cannot be had now: here it is committed up to"), "{error}");

    let mut proposer = safekeeper.proposer().await;
    proposer.lead(1, &[(0, START), (1, START)], START).await;
    proposer.append(1, START, START, record).await;
    proposer.await_flush(end).await;
    proposer.append(1, end, end, Bytes::new()).await;
    proposer.hear_position().await;
    let (timeline, _) = safekeeper.manager.create(branch).await.unwrap();
    let theirs =
        std::fs::read(safekeeper.manager.get(identity().ttid).await.unwrap().segments().path(1)).unwrap();
    assert!(std::fs::read(timeline.segments().path(1)).unwrap() == theirs);
    assert_eq!(timeline.positions().flush_lsn, end);
    safekeeper.stop().await;
}

#[tokio::test]
async fn a_branch_gets_its_ancestors_bytes_from_a_peer() {
    let places = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let donor = Safekeeper::start(places[0].path()).await;
    let other = Safekeeper::start_as(2, places[1].path(), DurableFs::default()).await;
    donor.manager.create(spec()).await.unwrap();
    let mut wal = TestWal::new(START);
    let record = wal.record(20_000, 1);
    let end = wal.position();
    let mut proposer = donor.proposer().await;
    proposer.lead(1, &[(0, START), (1, START)], START).await;
    proposer.append(1, START, START, record).await;
    proposer.await_flush(end).await;
    proposer.append(1, end, end, Bytes::new()).await;
    proposer.hear_position().await;

    let ttid = TenantTimelineId { timeline_id: TimelineId([3; 16]), ..identity().ttid };
    let identity_of_branch = TimelineIdentity { ttid, ..identity() };
    let mut configuration = configuration();
    configuration.members[0].pg_connstr = donor.address.to_string();
    let ancestor = Some(identity().ttid.timeline_id);
    let branch =
        TimelineSpec { identity: identity_of_branch, start_lsn: end, configuration, joins: false, ancestor };
    let (timeline, _) = other.manager.create(branch).await.unwrap();
    let theirs = std::fs::read(donor.manager.get(identity().ttid).await.unwrap().segments().path(1)).unwrap();
    assert!(std::fs::read(timeline.segments().path(1)).unwrap() == theirs);
    donor.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_whose_client_went_away_does_not_meet_the_next() {
    let place = tempfile::tempdir().unwrap();
    let open = Arc::new(Mutex::new(()));
    let gate = Arc::new(Gate { reached: AtomicBool::new(false), open: open.clone() });
    let fs = DurableFs::with_faults(gate.clone());
    let safekeeper = Safekeeper::start_as(1, place.path(), fs).await;
    let create = || {
        let manager = safekeeper.manager.clone();
        tokio::spawn(async move { manager.create(spec()).await.map(|(_, new)| new) })
    };
    let closed = open.lock().unwrap();
    let first = create();
    while !gate.reached.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(1));
    }
    first.abort();
    let mut second = create();
    let waited = tokio::task::block_in_place(|| {
        std::thread::sleep(Duration::from_millis(300));
        !second.is_finished()
    });
    drop(closed);
    assert!(waited, "the second attempt went on beside the first");
    assert!(!(&mut second).await.unwrap().unwrap(), "the first attempt has made it");
    safekeeper.stop().await;
}

/// Three members at addresses where two of them are; the third is to be found nowhere.
async fn members(first: &Safekeeper, second: &Safekeeper) -> Configuration {
    let mut configuration = configuration();
    for (member, safekeeper) in configuration.members.iter_mut().zip([first, second]) {
        member.pg_connstr = safekeeper.address.to_string();
        member.http_connstr = safekeeper.serve_http(member.id).await.to_string();
    }
    configuration
}

#[tokio::test]
async fn a_member_that_lost_its_disk_does_not_begin_with_nothing() {
    let place = tempfile::tempdir().unwrap();
    let start = |id: u64, name: &str| {
        let directory = place.path().join(name);
        async move { Safekeeper::start_as(id, &directory, DurableFs::default()).await }
    };
    let (first, second) = (start(1, "sk1").await, start(2, "sk2").await);
    let spec = TimelineSpec { configuration: members(&first, &second).await, ..spec() };
    // They make it one after the other, each without the ones that come later.
    let third = start(3, "sk3").await;
    for safekeeper in [&first, &second, &third] {
        assert!(safekeeper.manager.create(spec.clone()).await.unwrap().1);
    }
    third.stop().await;
    for safekeeper in [&first, &second] {
        safekeeper.proposer().await.lead(1, &[(0, START), (1, START)], START).await;
    }

    let empty = start(3, "sk3, another disk").await;
    let refused = empty.manager.create(spec.clone()).await.map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("has it already, in term 1 and configuration 1"), "{refused}");
    assert!(refused.contains("comes back under a new id"), "{refused}");
    assert!(empty.manager.resident(identity().ttid).is_err(), "{refused}, and made all the same");
    empty.stop().await;
    // Who has it is not asked who else has.
    let third = start(3, "sk3").await;
    assert!(!third.manager.create(spec).await.unwrap().1);
    for safekeeper in [first, second, third] {
        safekeeper.stop().await;
    }
}
