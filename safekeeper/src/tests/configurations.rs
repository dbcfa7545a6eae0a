//! Configurations that come with a compute: which of them a safekeeper follows.

use consensus::{Configuration, Member};

use super::*;

/// What every superuser of a database can read.
fn compute() -> Credentials {
    KEY.credentials(&Claims::tenant(identity().ttid.tenant_id)).unwrap()
}

fn member(id: u64, http: &str) -> Member {
    Member { id: NodeId(id), pg_connstr: "127.0.0.1:1".into(), http_connstr: http.into() }
}

async fn greet(
    safekeeper: &Safekeeper,
    credentials: &Credentials,
    configuration: &Configuration,
) -> Proposer {
    let mut proposer = safekeeper.proposer_with(credentials).await;
    let configuration = configuration.clone();
    proposer.say(ProposerMessage::Greeting(ProposerGreeting { identity: identity(), configuration })).await;
    proposer
}

/// Safekeepers 1 and 2, and where the HTTP API of the latter is.
async fn behind_and_ahead(place: &Path) -> (Safekeeper, Safekeeper, String) {
    let behind = Safekeeper::start(&place.join("behind")).await;
    let ahead = Safekeeper::start_as(2, &place.join("ahead"), DurableFs::default()).await;
    let http = ahead.serve_http(NodeId(2)).await.to_string();
    (behind, ahead, http)
}

fn generation(safekeeper: &Safekeeper) -> u32 {
    let timeline = safekeeper.manager.resident(identity().ttid).unwrap().expect("a resident timeline");
    timeline.persisted_state().configuration.generation.0
}

#[tokio::test]
async fn one_that_a_compute_made_up_is_followed_by_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let safekeeper = Safekeeper::start(directory.path()).await;
    safekeeper.manager.create(spec()).await.unwrap();
    // Where it points somebody listens, and would be shown what it is not to see.
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = elsewhere.local_addr().unwrap().to_string();
    for number in [2, u32::MAX] {
        let made_up = Configuration {
            generation: MembershipGeneration(number),
            members: vec![member(1, "127.0.0.1:2"), member(99, &address)],
            new_members: None,
        };
        let mut proposer = greet(&safekeeper, &compute(), &made_up).await;
        let refused = proposer.hear_why_it_ends().await.to_string();
        assert!(refused.contains("no other safekeeper that answers has it"), "{refused}");
        assert_eq!(generation(&safekeeper), 1);
    }
    let nobody = tokio::time::timeout(Duration::from_millis(300), elsewhere.accept()).await;
    assert!(nobody.is_err(), "somebody came: {nobody:?}");
    // The one that it is in is no news, and its own compute goes on.
    let mut proposer = greet(&safekeeper, &compute(), &configuration()).await;
    assert!(matches!(proposer.hear().await, AcceptorMessage::Greeting(_)));
    safekeeper.stop().await;
}

#[tokio::test]
async fn one_that_another_safekeeper_has_is_followed() {
    let place = tempfile::tempdir().unwrap();
    let (behind, ahead, http) = behind_and_ahead(place.path()).await;
    let old = Configuration::initial(vec![member(1, "127.0.0.1:2"), member(2, &http)]).unwrap();
    for safekeeper in [&behind, &ahead] {
        safekeeper.manager.create(TimelineSpec { configuration: old.clone(), ..spec() }).await.unwrap();
    }
    let decided = Configuration { generation: MembershipGeneration(2), ..old.clone() };
    let mut administrator = greet(&ahead, &credentials(), &decided).await;
    assert!(matches!(administrator.hear().await, AcceptorMessage::Greeting(_)));
    assert_eq!((generation(&behind), generation(&ahead)), (1, 2));

    // Of the same number, but not the same.
    let other = Configuration {
        members: vec![member(1, "127.0.0.1:2"), member(2, "127.0.0.1:3")],
        ..decided.clone()
    };
    let refused = greet(&behind, &compute(), &other).await.hear_why_it_ends().await.to_string();
    assert!(refused.contains("stays in configuration 1"), "{refused}");
    let mut proposer = greet(&behind, &compute(), &decided).await;
    assert!(matches!(proposer.hear().await, AcceptorMessage::Greeting(_)));
    assert_eq!(generation(&behind), 2);
    behind.stop().await;
    ahead.stop().await;
}

#[tokio::test]
async fn the_broker_says_where_others_are_whom_a_configuration_does_not_name() {
    let place = tempfile::tempdir().unwrap();
    let (behind, ahead, http) = behind_and_ahead(place.path()).await;
    behind.manager.create(spec()).await.unwrap();
    let decided = Configuration { generation: MembershipGeneration(4), ..configuration() };
    ahead.manager.create(TimelineSpec { configuration: decided.clone(), ..spec() }).await.unwrap();
    greet(&behind, &compute(), &decided).await.hear_why_it_ends().await;
    assert_eq!(generation(&behind), 1);
    behind.manager.note_address(NodeId(2), &http);
    let mut proposer = greet(&behind, &compute(), &decided).await;
    assert!(matches!(proposer.hear().await, AcceptorMessage::Greeting(_)));
    assert_eq!(generation(&behind), 4);
    behind.stop().await;
    ahead.stop().await;
}
