//! What acceptors do about other configurations and other acceptors' logs, where a simulated world would take long to
//! get into the same corner.

mod timeline;

use bytes::Bytes;
use consensus::{
    Acceptor, AcceptorEffect, AcceptorEvent, AcceptorMessage, AcceptorState, AppendRequest, Configuration,
    ConnectionId, Elected, MembershipAnswer, MembershipGeneration, MembershipRequest, PeerLog, PeerPosition,
    ProposerGreeting, ProposerMessage, Refusal, RequestId, TermHistory, TermStart, VoteRequest,
};
use timeline::{identity, members};
use types::{Lsn, NodeId, Term};

const START: Lsn = Lsn(0x100);
const PROPOSER: ConnectionId = ConnectionId(1);
const FIRST: MembershipGeneration = MembershipGeneration::FIRST;

fn first() -> Configuration {
    Configuration::initial(members([1, 2, 3])).unwrap()
}

fn acceptor() -> Acceptor {
    Acceptor::new(NodeId(1), AcceptorState::genesis(identity(), first(), START), START).unwrap()
}

fn say(acceptor: &mut Acceptor, message: ProposerMessage) -> Vec<AcceptorEffect> {
    acceptor.step(AcceptorEvent::Message { from: PROPOSER, message })
}

fn refusal(effects: &[AcceptorEffect]) -> Option<&Refusal> {
    effects.iter().find_map(|effect| match effect {
        AcceptorEffect::Refuse { refusal, .. } => Some(refusal),
        _ => None,
    })
}

/// Eight bytes of term 1.
fn append(generation: MembershipGeneration, begin_lsn: Lsn) -> ProposerMessage {
    ProposerMessage::AppendRequest(AppendRequest {
        generation,
        term: Term(1),
        begin_lsn,
        commit_lsn: START,
        horizon_lsn: START,
        tick: 0,
        wal: Bytes::from_static(b"a record"),
    })
}

/// Follows term 1 and has eight bytes of it.
fn with_wal_of_term_1() -> Acceptor {
    let mut acceptor = acceptor();
    let term = Term(1);
    let start = |term, lsn| TermStart { term, lsn };
    let history = TermHistory::new(vec![start(Term(0), START), start(term, START)]).unwrap();
    say(&mut acceptor, ProposerMessage::VoteRequest(VoteRequest { generation: FIRST, term }));
    let elected = Elected { generation: FIRST, term, start_streaming_at: START, history };
    say(&mut acceptor, ProposerMessage::Elected(elected));
    assert!(refusal(&say(&mut acceptor, append(FIRST, START))).is_none());
    acceptor.step(AcceptorEvent::BatchEnd);
    let end = START + 8;
    acceptor.step(AcceptorEvent::Flushed { log_version: 0, durable_lsn: end, record_end: end });
    acceptor
}

/// A peer that has the same.
fn has_wal_of_term_1(generation: u32) -> PeerPosition {
    PeerPosition {
        generation: MembershipGeneration(generation),
        term: Term(1),
        last_log_term: Term(1),
        flush_lsn: START + 8,
        commit_lsn: START,
    }
}

#[test]
fn positions_in_another_configuration_do_not_make_a_quorum_here() {
    for (generation, commit_lsn) in [(2, START), (1, START + 8)] {
        let mut acceptor = with_wal_of_term_1();
        acceptor
            .step(AcceptorEvent::PeerPosition { node: NodeId(2), position: has_wal_of_term_1(generation) });
        assert_eq!(acceptor.commit_lsn(), commit_lsn, "generation {generation}");
    }
}

/// Others may have elected the proposer of the higher term when this one was no member yet.
#[test]
fn who_has_promised_to_a_higher_term_is_none_of_the_quorum_of_an_older_one() {
    for (term, commit_lsn) in [(2, START), (1, START + 8)] {
        let mut acceptor = with_wal_of_term_1();
        vote(&mut acceptor, term);
        acceptor.step(AcceptorEvent::PeerPosition { node: NodeId(2), position: has_wal_of_term_1(1) });
        assert_eq!(acceptor.commit_lsn(), commit_lsn, "in term {term}");
    }
}

#[test]
fn an_administrator_brings_the_term_of_those_who_are_to_go() {
    let mut acceptor = with_wal_of_term_1();
    let adopt = |configuration: &Configuration, term| AcceptorEvent::Membership {
        from: RequestId(1),
        request: MembershipRequest::Adopt { configuration: configuration.clone(), term: Term(term) },
    };
    let joint = first().joint_with(members([2, 3, 4]));
    let effects = acceptor.step(adopt(&joint, 7));
    let persisted = matches!(&effects[0], AcceptorEffect::PersistState(state) if state.term == Term(7));
    let told = effects.iter().any(|effect| {
        matches!(effect, AcceptorEffect::Answer { answer: MembershipAnswer::Position { position, .. }, .. }
            if position.term == Term(7))
    });
    assert!(persisted && told, "{effects:?}");
    // Whoever led in term 1 is told, and whoever leads in term 7 cannot take it for an acknowledgement.
    let effects = say(&mut acceptor, append(joint.generation, START + 8));
    let [AcceptorEffect::Reply { message: AcceptorMessage::AppendResponse(response), .. }] = &effects[..]
    else {
        panic!("{effects:?}");
    };
    assert_eq!((response.term, response.flush_lsn, response.durable_lsn), (Term(7), Lsn(0), Lsn(0)));
    assert_eq!(acceptor.write_lsn(), START + 8);

    acceptor.step(adopt(&joint, 3));
    assert_eq!(acceptor.term(), Term(7), "a term never falls");
    acceptor.step(adopt(&joint.finished(), 0));
    acceptor.step(adopt(&joint, 9));
    assert_eq!(acceptor.term(), Term(7), "of a configuration that is over");
}

#[test]
fn who_was_removed_takes_no_part_and_tells_the_newer_configuration() {
    let mut acceptor = acceptor();
    let last = first().joint_with(members([2, 3, 4])).finished();
    let adopt = MembershipRequest::Adopt { configuration: last.clone(), term: Term(0) };
    let effects = acceptor.step(AcceptorEvent::Membership { from: RequestId(1), request: adopt });
    let answer = effects.iter().find_map(|effect| match effect {
        AcceptorEffect::Answer { answer, .. } => Some(answer),
        _ => None,
    });
    assert!(
        matches!(answer, Some(MembershipAnswer::Position { configuration, .. }) if *configuration == last)
    );
    assert!(
        matches!(effects[0], AcceptorEffect::PersistState(_)),
        "told before it was written down: {effects:?}"
    );

    let greeting =
        |configuration| ProposerMessage::Greeting(ProposerGreeting { identity: identity(), configuration });
    let old = say(&mut acceptor, greeting(first()));
    let told = old.iter().any(|effect| {
        matches!(effect, AcceptorEffect::Reply { message: AcceptorMessage::Greeting(it), .. }
            if it.configuration == last)
    });
    assert!(told, "{old:?}");
    let new = say(&mut acceptor, greeting(last.clone()));
    assert_eq!(refusal(&new), Some(&Refusal::NotAMember { generation: last.generation }));
    let vote = VoteRequest { generation: last.generation, term: Term(9) };
    let vote = say(&mut acceptor, ProposerMessage::VoteRequest(vote));
    assert_eq!(refusal(&vote), Some(&Refusal::NotAMember { generation: last.generation }));
    assert_eq!(acceptor.term(), Term(0));
}

/// Of a peer that has 24 bytes of term 1, and knows 16 of them to be committed.
fn longer_log() -> PeerLog {
    let start = |term, lsn| TermStart { term: Term(term), lsn };
    let history = TermHistory::new(vec![start(0, START), start(1, START)]).unwrap();
    PeerLog { history, flush_lsn: START + 24, commit_lsn: START + 16 }
}

/// Where the WAL that the acceptor wants to be read begins and ends.
fn compare(acceptor: &mut Acceptor, number: u64) -> Option<(Lsn, Lsn)> {
    let event = AcceptorEvent::PeerLog { node: NodeId(2), number, log: longer_log() };
    acceptor.step(event).into_iter().find_map(|effect| match effect {
        AcceptorEffect::PullWal { begin, end, .. } => Some((begin, end)),
        _ => None,
    })
}

fn vote(acceptor: &mut Acceptor, term: u64) {
    say(acceptor, ProposerMessage::VoteRequest(VoteRequest { generation: FIRST, term: Term(term) }));
}

#[test]
fn who_has_promised_takes_only_what_is_committed() {
    let mut acceptor = with_wal_of_term_1();
    assert_eq!(compare(&mut acceptor, 1), None, "a proposer leads, and brings it");
    acceptor.step(AcceptorEvent::Disconnected { connection: PROPOSER });
    assert_eq!(compare(&mut acceptor, 2), Some((START + 8, START + 24)));
    vote(&mut acceptor, 9);
    assert_eq!(compare(&mut acceptor, 3), Some((START + 8, START + 16)));
}

#[test]
fn a_vote_ends_what_was_being_read() {
    for votes in [false, true] {
        let mut acceptor = with_wal_of_term_1();
        acceptor.step(AcceptorEvent::Disconnected { connection: PROPOSER });
        compare(&mut acceptor, 1);
        if votes {
            vote(&mut acceptor, 9);
        }
        let wal = Bytes::from_static(b"sixteen bytes ..");
        let effects = acceptor.step(AcceptorEvent::PulledWal { pull: 1, begin: START + 8, wal });
        assert_eq!(effects.is_empty(), votes, "{effects:?}");
    }
}
