//! A safekeeper that is to come in: what object storage has need not come from the others.

use super::offload::{first_id, storage, until};
use super::*;
use crate::timeline::Scope;

/// The members are one that answers, and two that do not.
async fn members_of(donor: &Safekeeper, id: u64) -> Configuration {
    let mut configuration = configuration();
    let member = configuration.members.iter_mut().find(|member| member.id == NodeId(id)).unwrap();
    member.pg_connstr = donor.address.to_string();
    member.http_connstr = donor.serve_http(NodeId(id)).await.to_string();
    configuration
}

async fn write_three_segments(donor: &Safekeeper) -> Vec<u8> {
    donor.manager.create(spec()).await.unwrap();
    let mut proposer = donor.proposer().await;
    proposer.lead(1, &[(0, START), (1, START)], START).await;
    proposer.write_up_to(1, START, Lsn(3 * SEGMENT + 5000), 400_000).await
}

#[tokio::test]
async fn it_begins_where_object_storage_ends() {
    let place = tempfile::tempdir().unwrap();
    let remote = storage(place.path()).await;
    let (donor, _) = Safekeeper::start_offloading(first_id(), place.path(), remote.clone()).await;
    let configuration = members_of(&donor, first_id()).await;
    let written = write_three_segments(&donor).await;
    let end = START + written.len() as u64;
    let theirs = donor.manager.get(identity().ttid).await.unwrap();
    until(&theirs, |positions| positions.backup_lsn == Lsn(3 * SEGMENT)).await;

    let start = || {
        let settings = settings(4, &place.path().join("sk4"));
        Safekeeper::start_with(Settings { remote: Some(remote.clone()), ..settings })
    };
    let newcomer = start().await;
    let joins = TimelineSpec { joins: true, configuration, ..spec() };
    let (timeline, _) = newcomer.manager.create(joins.clone()).await.unwrap();
    let positions = timeline.positions();
    assert_eq!((positions.commit_lsn, positions.flush_lsn, positions.term), (end, end, Term(1)));
    assert_eq!(positions.local_start_lsn, Lsn(3 * SEGMENT));
    assert_eq!(timeline.segments().existing().unwrap(), [3]);
    assert!(newcomer.read(START, end).await.unwrap() == written);
    let log = timeline.log().await.unwrap();
    assert_eq!(log, theirs.log().await.unwrap());
    assert!(!newcomer.manager.create(joins).await.unwrap().1, "it is there already");
    newcomer.stop().await;

    let again = start().await;
    assert!(again.read(START, end).await.unwrap() == written);
    again.stop().await;
    donor.stop().await;
}

#[tokio::test]
async fn without_anything_in_object_storage_it_begins_at_the_start() {
    let place = tempfile::tempdir().unwrap();
    let donor = Safekeeper::start(&place.path().join("sk1")).await;
    let configuration = members_of(&donor, 1).await;
    write_three_segments(&donor).await;
    let settings = settings(4, &place.path().join("sk4"));
    let remote = Some(storage(place.path()).await);
    let newcomer = Safekeeper::start_with(Settings { remote, ..settings }).await;
    let joins = TimelineSpec { joins: true, configuration, ..spec() };
    let (timeline, _) = newcomer.manager.create(joins).await.unwrap();
    assert_eq!(timeline.positions().flush_lsn, START);
    newcomer.stop().await;
    donor.stop().await;
}

/// A young branch, detached since: its members have the bytes before its start, and the ancestor's are gone.
#[tokio::test]
async fn into_a_branch_whose_ancestor_is_deleted() {
    let place = tempfile::tempdir().unwrap();
    let donor = Safekeeper::start(&place.path().join("sk1")).await;
    let configuration = members_of(&donor, 1).await;
    let mut proposer = donor.new_timeline().await;
    let end = START + proposer.write_up_to(1, START, START + 20_000, 400_000).await.len() as u64;
    let ancestor = identity().ttid;
    let ttid = TenantTimelineId { timeline_id: TimelineId([3; 16]), ..ancestor };
    let branch = TimelineSpec {
        identity: TimelineIdentity { ttid, ..identity() },
        start_lsn: end,
        configuration,
        joins: false,
        ancestor: Some(ancestor.timeline_id),
    };
    let (theirs, _) = donor.manager.create(branch.clone()).await.unwrap();
    assert!(donor.manager.delete(ancestor, Scope::Everything).await.unwrap());

    let newcomer = Safekeeper::start_as(4, &place.path().join("sk4"), DurableFs::default()).await;
    let (timeline, _) = newcomer.manager.create(TimelineSpec { joins: true, ..branch }).await.unwrap();
    assert_eq!(timeline.positions().flush_lsn, end);
    let first = theirs.segments().existing().unwrap()[0];
    let bytes = std::fs::read(theirs.segments().path(first)).unwrap();
    assert!(std::fs::read(timeline.segments().path(first)).unwrap() == bytes, "before its start");
    newcomer.stop().await;
    donor.stop().await;
}
