//! Which pageserver owns a tenant: what is granted is granted once, over restarts and failing disks too.

use std::collections::BTreeMap;

use consensus::{MembershipAnswer, MembershipQuestion, MembershipRequest, OwnershipAnswer, OwnershipRequest};
use safekeeper_api::owners::FILE_NAME;
use types::Generation;

use super::*;

async fn ask(manager: &Arc<Manager>, request: OwnershipRequest) -> OwnershipAnswer {
    let tenant = identity().ttid.tenant_id;
    let mut answers = manager.ownership(BTreeMap::from([(tenant, request)])).await.unwrap();
    answers.remove(&tenant).expect("an answer")
}

fn claim(generation: u32) -> OwnershipRequest {
    OwnershipRequest::Claim { generation: Generation(generation) }
}

fn confirm(generation: u32) -> OwnershipRequest {
    OwnershipRequest::Confirm { generation: Generation(generation) }
}

#[tokio::test]
async fn a_grant_outlives_the_process() {
    let place = tempfile::tempdir().unwrap();
    let safekeeper = Safekeeper::start(place.path()).await;
    assert_eq!(ask(&safekeeper.manager, OwnershipRequest::Look).await.highest, Generation(0));
    assert!(!place.path().join(FILE_NAME).exists(), "to look is no reason to write");
    let answer = ask(&safekeeper.manager, claim(2)).await;
    assert!(answer.agrees && answer.configurations.is_empty(), "{answer:?}");
    safekeeper.manager.create(spec()).await.unwrap();
    let timeline = identity().ttid.timeline_id;
    let answer = ask(&safekeeper.manager, confirm(2)).await;
    assert!(answer.agrees);
    assert_eq!(answer.configurations, BTreeMap::from([(timeline, Some(configuration()))]));
    safekeeper.stop().await;

    let again = Safekeeper::start_as(1, place.path(), DurableFs::default()).await;
    let answer = ask(&again.manager, claim(2)).await;
    assert!(!answer.agrees && answer.highest == Generation(2), "{answer:?}");
    // Also of a timeline that nobody has woken.
    assert_eq!(answer.configurations[&timeline], Some(configuration()));
    assert!(ask(&again.manager, claim(3)).await.agrees);
    assert!(!ask(&again.manager, confirm(2)).await.agrees);
    again.stop().await;

    std::fs::write(place.path().join(FILE_NAME), b"VSKO nonsense").unwrap();
    let refused = Manager::open(settings(1, place.path())).await.map(|_| ()).unwrap_err();
    assert!(format!("{refused:#}").contains("take another in its place"), "{refused:#}");
}

#[tokio::test]
async fn what_an_administrator_has_heard_of_is_remembered_and_told() {
    let place = tempfile::tempdir().unwrap();
    let safekeeper = Safekeeper::start(place.path()).await;
    safekeeper.manager.create(spec()).await.unwrap();
    assert!(ask(&safekeeper.manager, claim(2)).await.agrees);
    let question = |generation| MembershipQuestion {
        request: MembershipRequest::Adopt { configuration: configuration(), term: Term(0) },
        pageserver_generation: Generation(generation),
    };
    let reply = safekeeper.manager.membership(identity().ttid, question(1)).await.unwrap();
    assert_eq!(reply.pageserver_generation, Generation(2));
    assert!(matches!(reply.answer, MembershipAnswer::Position { .. }));
    let reply = safekeeper.manager.membership(identity().ttid, question(5)).await.unwrap();
    assert_eq!(reply.pageserver_generation, Generation(5));
    assert!(!ask(&safekeeper.manager, claim(5)).await.agrees);
    safekeeper.stop().await;
}

/// Fails what concerns the file of owners, from the given step on.
struct FailingOwners(Step);

impl Faults for FailingOwners {
    fn before(&self, step: Step, path: &Path) -> std::io::Result<()> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if step == self.0 && name.starts_with(FILE_NAME) {
            Err(std::io::ErrorKind::Other.into())
        } else {
            Ok(())
        }
    }
}

#[tokio::test]
async fn what_is_not_durable_is_not_granted() {
    let tenant = identity().ttid.tenant_id;
    for (step, ends) in [(Step::Write, false), (Step::Rename, false), (Step::SyncFile, true)] {
        let place = tempfile::tempdir().unwrap();
        let fs = DurableFs::with_faults(Arc::new(FailingOwners(step)));
        let mut safekeeper = Safekeeper::start_as(1, place.path(), fs).await;
        let request = BTreeMap::from([(tenant, claim(2))]);
        assert!(safekeeper.manager.ownership(request).await.is_err(), "{step:?}");
        assert_eq!(safekeeper.manager.pageserver_generation(tenant), Generation(0), "{step:?}");
        assert_eq!(safekeeper.fatal.try_recv().is_ok(), ends, "{step:?}");
        safekeeper.stop().await;
    }
}
