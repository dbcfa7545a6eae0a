//! A safekeeper that lacks WAL gets it from whoever has it, and goes on asking until somebody gives it.

use consensus::PeerPosition;

use super::offload::until;
use super::*;
use crate::timeline::{CatchUp, Peer, Positions};

/// Three safekeepers have the timeline, and the second has WAL in it. Who lacks it, who has it, where its HTTP API is.
async fn behind_and_ahead(place: &Path) -> (Safekeeper, Safekeeper, Peer, PeerPosition) {
    let behind = Safekeeper::start(&place.join("sk1")).await;
    behind.manager.create(spec()).await.unwrap();
    let donor = Safekeeper::start_as(2, &place.join("sk2"), DurableFs::default()).await;
    let mut proposer = donor.new_timeline().await;
    proposer.write_up_to(1, START, START + 100_000, 9000).await;
    let peer = Peer {
        node: NodeId(2),
        pg_connstr: donor.address.to_string(),
        http_connstr: donor.serve_http(NodeId(2)).await.to_string(),
    };
    let position = position(&donor.manager.get(identity().ttid).await.unwrap().positions());
    (behind, donor, peer, position)
}

fn position(positions: &Positions) -> PeerPosition {
    PeerPosition {
        generation: positions.generation,
        term: positions.term,
        last_log_term: positions.last_log_term,
        flush_lsn: positions.flush_lsn,
        commit_lsn: positions.commit_lsn,
    }
}

/// Nobody is there, although the broker has said so.
async fn gone(id: u64) -> Peer {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    Peer { node: NodeId(id), pg_connstr: closed.clone(), http_connstr: closed }
}

#[tokio::test]
async fn where_one_peer_fails_the_next_is_asked() {
    let place = tempfile::tempdir().unwrap();
    let (behind, donor, peer, position) = behind_and_ahead(place.path()).await;
    let shutdown = CancellationToken::new();
    let catch_up = CatchUp::new(behind.manager.clone(), credentials(), shutdown.clone());
    let gone = gone(3).await;
    let further = PeerPosition { flush_lsn: position.flush_lsn + 8, ..position };
    catch_up.consider(identity().ttid, || gone, &further);
    catch_up.consider(identity().ttid, || peer, &position);
    let timeline = behind.manager.get(identity().ttid).await.unwrap();
    until(&timeline, |positions| positions.flush_lsn == position.flush_lsn).await;
    shutdown.cancel();
    behind.stop().await;
    donor.stop().await;
}

#[tokio::test]
async fn one_that_told_while_it_could_not_be_reached_is_asked_again() {
    let place = tempfile::tempdir().unwrap();
    let (behind, donor, peer, position) = behind_and_ahead(place.path()).await;
    let shutdown = CancellationToken::new();
    let catch_up = CatchUp::new(behind.manager.clone(), credentials(), shutdown.clone());
    // Its API is served by nobody at first, and it never tells its position again.
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = door.local_addr().unwrap();
    let there = peer.http_connstr.clone();
    let turned_away = tokio::spawn(async move {
        drop(door.accept().await.unwrap());
        loop {
            let (mut one, _) = door.accept().await.unwrap();
            let mut other = tokio::net::TcpStream::connect(&there).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut one, &mut other).await.ok() });
        }
    });
    let peer = Peer { http_connstr: address.to_string(), ..peer };
    catch_up.consider(identity().ttid, || peer, &position);
    let timeline = behind.manager.get(identity().ttid).await.unwrap();
    until(&timeline, |positions| positions.flush_lsn == position.flush_lsn).await;
    assert!(!turned_away.is_finished());
    turned_away.abort();
    shutdown.cancel();
    behind.stop().await;
    donor.stop().await;
}
