//! Every message comes back as it was sent; whatever else comes in is an error, never a panic.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn members() -> impl Strategy<Value = Vec<Member>> {
    vec(("[a-z0-9.]{0,12}:[0-9]{1,5}", "[a-z:0-9]{0,12}"), 1..5).prop_map(|addresses| {
        let member = |(index, (pg_connstr, http_connstr)): (usize, (String, String))| Member {
            id: NodeId(index as u64 + 1),
            pg_connstr,
            http_connstr,
        };
        addresses.into_iter().enumerate().map(member).collect()
    })
}

fn configurations() -> impl Strategy<Value = Configuration> {
    (any::<u32>(), members(), proptest::option::of(members())).prop_map(
        |(generation, members, new_members)| Configuration {
            generation: MembershipGeneration(generation),
            members,
            new_members,
        },
    )
}

fn histories() -> impl Strategy<Value = TermHistory> {
    vec((1u64..1 << 40, 0u64..1 << 40), 1..20).prop_map(|steps| {
        let (mut term, mut lsn) = (0, 0);
        let lines = steps.into_iter().map(|(more_term, more_lsn)| {
            term += more_term;
            lsn += more_lsn;
            TermStart { term: Term(term), lsn: Lsn(lsn) }
        });
        TermHistory::new(lines.collect()).unwrap()
    })
}

fn proposer_messages() -> impl Strategy<Value = ProposerMessage> {
    let greeting = (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<u64>(), configurations()).prop_map(
        |(tenant, timeline, system_id, configuration)| {
            let ttid = TenantTimelineId::new(TenantId(tenant), TimelineId(timeline));
            let wal_seg_size = WalSegmentSize::DEFAULT;
            let identity = TimelineIdentity { ttid, pg_version: PgVersion::V15, system_id, wal_seg_size };
            ProposerMessage::Greeting(ProposerGreeting { identity, configuration })
        },
    );
    let vote = any::<(u32, u64)>().prop_map(|(generation, term)| {
        ProposerMessage::VoteRequest(VoteRequest {
            generation: MembershipGeneration(generation),
            term: Term(term),
        })
    });
    let elected = (any::<(u32, u64, u64)>(), histories()).prop_map(|((generation, term, start), history)| {
        ProposerMessage::Elected(Elected {
            generation: MembershipGeneration(generation),
            term: Term(term),
            start_streaming_at: Lsn(start),
            history,
        })
    });
    let append = (any::<(u32, u64, u32, u64, u64, u64)>(), vec(any::<u8>(), 0..500)).prop_map(
        |((generation, term, begin, commit, horizon, tick), wal)| {
            ProposerMessage::AppendRequest(AppendRequest {
                generation: MembershipGeneration(generation),
                term: Term(term),
                begin_lsn: Lsn(begin.into()),
                commit_lsn: Lsn(commit),
                horizon_lsn: Lsn(horizon),
                tick,
                wal: wal.into(),
            })
        },
    );
    prop_oneof![greeting, vote, elected, append]
}

fn acceptor_messages() -> impl Strategy<Value = AcceptorMessage> {
    let greeting = (any::<(u64, u64)>(), configurations()).prop_map(|((node, term), configuration)| {
        AcceptorMessage::Greeting(AcceptorGreeting { node_id: NodeId(node), configuration, term: Term(term) })
    });
    let vote = (any::<(u32, u64, bool, u64, u64)>(), histories()).prop_map(
        |((generation, term, vote_given, flush, commit), history)| {
            AcceptorMessage::VoteResponse(VoteResponse {
                generation: MembershipGeneration(generation),
                term: Term(term),
                vote_given,
                flush_lsn: Lsn(flush),
                commit_lsn: Lsn(commit),
                history,
            })
        },
    );
    let append = any::<(u32, u64, u64, u64, u64, u64, u64)>().prop_map(
        |(generation, term, flush, durable, commit, pageserver, tick)| {
            AcceptorMessage::AppendResponse(AppendResponse {
                generation: MembershipGeneration(generation),
                term: Term(term),
                flush_lsn: Lsn(flush),
                durable_lsn: Lsn(durable),
                commit_lsn: Lsn(commit),
                pageserver_lsn: Lsn(pageserver),
                tick,
            })
        },
    );
    prop_oneof![greeting, vote, append]
}

proptest! {
    #[test]
    fn proposer_messages_come_back(message in proposer_messages()) {
        let bytes = encode_proposer_message(&message);
        prop_assert_eq!(decode_proposer_message(bytes), Ok(message));
    }

    #[test]
    fn acceptor_messages_come_back(message in acceptor_messages()) {
        let bytes = encode_acceptor_message(&message);
        prop_assert_eq!(decode_acceptor_message(bytes), Ok(message));
    }

    /// Cut anywhere, only an append can still be a message: one with less WAL.
    #[test]
    fn cut_messages_are_errors(message in proposer_messages(), at in any::<prop::sample::Index>()) {
        let bytes = encode_proposer_message(&message);
        let cut = bytes.slice(..at.index(bytes.len()));
        let append = matches!(message, ProposerMessage::AppendRequest(_));
        prop_assert!(decode_proposer_message(cut).is_err() || append);
    }

    #[test]
    fn cut_answers_are_errors(message in acceptor_messages(), at in any::<prop::sample::Index>()) {
        let bytes = encode_acceptor_message(&message);
        prop_assert!(decode_acceptor_message(bytes.slice(..at.index(bytes.len()))).is_err());
    }

    #[test]
    fn noise_never_panics(tag in prop::sample::select(b"gvea".to_vec()), noise in vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from([vec![tag], noise].concat());
        let _ = decode_proposer_message(bytes.clone());
        let _ = decode_acceptor_message(bytes);
    }

    /// One flipped byte decodes to something else or to an error.
    #[test]
    fn flipped_bytes_never_panic(message in proposer_messages(), at in any::<prop::sample::Index>(), flip in 1u8..) {
        let mut bytes = encode_proposer_message(&message).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert_ne!(decode_proposer_message(bytes.into()), Ok(message));
    }
}

#[test]
fn a_count_beyond_the_message_allocates_nothing() {
    let mut bytes = BytesMut::new();
    bytes.put_u8(b'e');
    bytes.put_u32(1);
    bytes.put_u64(2);
    bytes.put_u64(3);
    bytes.put_u32(u32::MAX);
    assert!(matches!(
        decode_proposer_message(bytes.freeze()),
        Err(DecodeError::Truncated { field: "history", .. })
    ));
}
