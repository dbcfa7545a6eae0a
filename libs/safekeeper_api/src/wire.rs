//! The consensus messages as bytes: one message per CopyData of a COPY BOTH session that the proposer
//! opens with [`start_wal_push`]. All integers are big-endian; an LSN, a term and a node id are u64.
//!
//! ```text
//! proposer → safekeeper
//!   'g'  u8 version, tenant 16, timeline 16, configuration, u32 pg major, u64 system id, u32 segment size
//!   'v'  u32 generation, term
//!   'e'  u32 generation, term, start_streaming_at, history
//!   'a'  u32 generation, term, begin, commit, horizon, WAL to the end of the message
//! safekeeper → proposer
//!   'g'  u8 version, node id, configuration, term
//!   'v'  u32 generation, term, u8 given, flush, commit, history
//!   'a'  u32 generation, term, flush, durable, commit, pageserver's position
//!   'h'  what the standbys here need to be kept, when it changes: see `standby_feedback`; only if it was asked for
//!
//! configuration = u32 generation, members, u8 1 and new members, or u8 0
//! members       = u32 n, n × { node id, pg address, http address }     an address: UTF-8 and a zero byte
//! history       = u32 n, n × { term, lsn }
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use consensus::{
    AcceptorGreeting, AcceptorMessage, AppendRequest, AppendResponse, Configuration, Elected, Member,
    MembershipGeneration, ProposerGreeting, ProposerMessage, TermHistory, TermStart, TimelineIdentity,
    VoteRequest, VoteResponse,
};
use types::{Lsn, NodeId, PgVersion, TenantId, TenantTimelineId, Term, TimelineId, WalSegmentSize};

use crate::cursor::{Cursor, DecodeError};
use crate::standby_feedback::StandbyFeedback;

/// In START_WAL_PUSH and in both greetings. A peer with another version is refused.
pub const PROTOCOL_VERSION: u8 = 2;

/// WAL that one append carries at most.
pub const MAX_APPEND_BYTES: usize = 128 << 10;

/// The command that begins the session. A safekeeper tells of standbys only who asks for it, so that walproposers from
/// before that go on.
pub fn start_wal_push() -> String {
    format!("START_WAL_PUSH (proto_version '{PROTOCOL_VERSION}', standby_feedback 'true')")
}

/// What a safekeeper says: to the consensus, or for PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SafekeeperMessage {
    Acceptor(AcceptorMessage),
    StandbyFeedback(StandbyFeedback),
}

pub fn encode_proposer_message(message: &ProposerMessage) -> Bytes {
    let mut out = BytesMut::with_capacity(128);
    match message {
        ProposerMessage::Greeting(greeting) => {
            let identity = &greeting.identity;
            out.put_slice(&[b'g', PROTOCOL_VERSION]);
            out.put_slice(identity.ttid.tenant_id.as_bytes());
            out.put_slice(identity.ttid.timeline_id.as_bytes());
            put_configuration(&mut out, &greeting.configuration);
            out.put_u32(identity.pg_version.major());
            out.put_u64(identity.system_id);
            out.put_u32(identity.wal_seg_size.into());
        }
        ProposerMessage::VoteRequest(request) => {
            out.put_u8(b'v');
            put_generation_and_term(&mut out, request.generation, request.term);
        }
        ProposerMessage::Elected(elected) => {
            out.put_u8(b'e');
            put_generation_and_term(&mut out, elected.generation, elected.term);
            out.put_u64(elected.start_streaming_at.0);
            put_history(&mut out, &elected.history);
        }
        ProposerMessage::AppendRequest(request) => {
            out.reserve(64 + request.wal.len());
            out.put_u8(b'a');
            put_generation_and_term(&mut out, request.generation, request.term);
            out.put_u64(request.begin_lsn.0);
            out.put_u64(request.commit_lsn.0);
            out.put_u64(request.horizon_lsn.0);
            out.put_u64(request.tick);
            out.put_slice(&request.wal);
        }
    }
    out.freeze()
}

pub fn decode_proposer_message(bytes: Bytes) -> Result<ProposerMessage, DecodeError> {
    let mut cursor = Cursor::new("from proposer", bytes);
    match cursor.u8("tag")? {
        b'g' => {
            cursor.message = "proposer greeting";
            check_version(&mut cursor)?;
            let tenant_id = TenantId(cursor.id("tenant")?);
            let timeline_id = TimelineId(cursor.id("timeline")?);
            let configuration = configuration(&mut cursor)?;
            let pg_version = PgVersion::try_from(cursor.u32("pg version")?)
                .map_err(|error| cursor.invalid("pg version", error.to_string()))?;
            let system_id = cursor.u64("system id")?;
            let wal_seg_size = WalSegmentSize::try_from(cursor.u32("segment size")?)
                .map_err(|error| cursor.invalid("segment size", error))?;
            cursor.finish()?;
            let ttid = TenantTimelineId::new(tenant_id, timeline_id);
            let identity = TimelineIdentity { ttid, pg_version, system_id, wal_seg_size };
            Ok(ProposerMessage::Greeting(ProposerGreeting { identity, configuration }))
        }
        b'v' => {
            cursor.message = "vote request";
            let (generation, term) = generation_and_term(&mut cursor)?;
            cursor.finish()?;
            Ok(ProposerMessage::VoteRequest(VoteRequest { generation, term }))
        }
        b'e' => {
            cursor.message = "elected";
            let (generation, term) = generation_and_term(&mut cursor)?;
            let start_streaming_at = Lsn(cursor.u64("start")?);
            let history = history(&mut cursor)?;
            cursor.finish()?;
            Ok(ProposerMessage::Elected(Elected { generation, term, start_streaming_at, history }))
        }
        b'a' => {
            cursor.message = "append request";
            let (generation, term) = generation_and_term(&mut cursor)?;
            let begin_lsn = Lsn(cursor.u64("begin")?);
            let commit_lsn = Lsn(cursor.u64("commit")?);
            let horizon_lsn = Lsn(cursor.u64("horizon")?);
            let tick = cursor.u64("tick")?;
            let message = cursor.message;
            let wal = cursor.remainder();
            if begin_lsn.0.checked_add(wal.len() as u64).is_none() {
                let reason = format!("{begin_lsn} with {} bytes goes past the last LSN", wal.len());
                return Err(DecodeError::Invalid { message, field: "begin", reason });
            }
            let request = AppendRequest { generation, term, begin_lsn, commit_lsn, horizon_lsn, tick, wal };
            Ok(ProposerMessage::AppendRequest(request))
        }
        other => Err(DecodeError::UnknownTag(other)),
    }
}

pub fn encode_acceptor_message(message: &AcceptorMessage) -> Bytes {
    let mut out = BytesMut::with_capacity(128);
    match message {
        AcceptorMessage::Greeting(greeting) => {
            out.put_slice(&[b'g', PROTOCOL_VERSION]);
            out.put_u64(greeting.node_id.0);
            put_configuration(&mut out, &greeting.configuration);
            out.put_u64(greeting.term.0);
        }
        AcceptorMessage::VoteResponse(response) => {
            out.put_u8(b'v');
            put_generation_and_term(&mut out, response.generation, response.term);
            out.put_u8(response.vote_given.into());
            out.put_u64(response.flush_lsn.0);
            out.put_u64(response.commit_lsn.0);
            put_history(&mut out, &response.history);
        }
        AcceptorMessage::AppendResponse(response) => {
            out.put_u8(b'a');
            put_generation_and_term(&mut out, response.generation, response.term);
            out.put_u64(response.flush_lsn.0);
            out.put_u64(response.durable_lsn.0);
            out.put_u64(response.commit_lsn.0);
            out.put_u64(response.pageserver_lsn.0);
            out.put_u64(response.tick);
        }
    }
    out.freeze()
}

pub fn encode_standby_feedback(feedback: StandbyFeedback) -> Bytes {
    let mut out = BytesMut::with_capacity(17);
    out.put_u8(b'h');
    feedback.put(&mut out);
    out.freeze()
}

pub fn decode_safekeeper_message(bytes: Bytes) -> Result<SafekeeperMessage, DecodeError> {
    if bytes.first() != Some(&b'h') {
        return decode_acceptor_message(bytes).map(SafekeeperMessage::Acceptor);
    }
    let mut cursor = Cursor::new("standby feedback", bytes.slice(1..));
    let feedback = StandbyFeedback::take(&mut cursor)?;
    cursor.finish()?;
    Ok(SafekeeperMessage::StandbyFeedback(feedback))
}

fn decode_acceptor_message(bytes: Bytes) -> Result<AcceptorMessage, DecodeError> {
    let mut cursor = Cursor::new("from safekeeper", bytes);
    match cursor.u8("tag")? {
        b'g' => {
            cursor.message = "safekeeper greeting";
            check_version(&mut cursor)?;
            let node_id = NodeId(cursor.u64("node id")?);
            let configuration = configuration(&mut cursor)?;
            let term = Term(cursor.u64("term")?);
            cursor.finish()?;
            Ok(AcceptorMessage::Greeting(AcceptorGreeting { node_id, configuration, term }))
        }
        b'v' => {
            cursor.message = "vote response";
            let (generation, term) = generation_and_term(&mut cursor)?;
            let vote_given = cursor.bool("vote")?;
            let flush_lsn = Lsn(cursor.u64("flush")?);
            let commit_lsn = Lsn(cursor.u64("commit")?);
            let history = history(&mut cursor)?;
            cursor.finish()?;
            let response = VoteResponse { generation, term, vote_given, flush_lsn, commit_lsn, history };
            Ok(AcceptorMessage::VoteResponse(response))
        }
        b'a' => {
            cursor.message = "append response";
            let (generation, term) = generation_and_term(&mut cursor)?;
            let flush_lsn = Lsn(cursor.u64("flush")?);
            let durable_lsn = Lsn(cursor.u64("durable")?);
            let commit_lsn = Lsn(cursor.u64("commit")?);
            let pageserver_lsn = Lsn(cursor.u64("pageserver")?);
            let tick = cursor.u64("tick")?;
            cursor.finish()?;
            let response =
                AppendResponse { generation, term, flush_lsn, durable_lsn, commit_lsn, pageserver_lsn, tick };
            Ok(AcceptorMessage::AppendResponse(response))
        }
        other => Err(DecodeError::UnknownTag(other)),
    }
}

fn check_version(cursor: &mut Cursor) -> Result<(), DecodeError> {
    match cursor.u8("version")? {
        PROTOCOL_VERSION => Ok(()),
        other => Err(cursor.invalid("version", format!("{other}, expected {PROTOCOL_VERSION}"))),
    }
}

fn put_generation_and_term(out: &mut BytesMut, generation: MembershipGeneration, term: Term) {
    out.put_u32(generation.0);
    out.put_u64(term.0);
}

fn generation_and_term(cursor: &mut Cursor) -> Result<(MembershipGeneration, Term), DecodeError> {
    Ok((MembershipGeneration(cursor.u32("generation")?), Term(cursor.u64("term")?)))
}

fn put_configuration(out: &mut BytesMut, configuration: &Configuration) {
    out.put_u32(configuration.generation.0);
    put_members(out, &configuration.members);
    out.put_u8(configuration.new_members.is_some().into());
    if let Some(new_members) = &configuration.new_members {
        put_members(out, new_members);
    }
}

fn configuration(cursor: &mut Cursor) -> Result<Configuration, DecodeError> {
    let generation = MembershipGeneration(cursor.u32("configuration")?);
    let members = members(cursor)?;
    let new_members = if cursor.bool("joint")? { Some(self::members(cursor)?) } else { None };
    let configuration = Configuration { generation, members, new_members };
    configuration.validate().map_err(|error| cursor.invalid("configuration", error.to_string()))?;
    Ok(configuration)
}

/// Addresses with a zero byte in them cannot be sent; they are cut there, and dialling them fails.
fn put_members(out: &mut BytesMut, members: &[Member]) {
    let text = |out: &mut BytesMut, text: &str| {
        out.put_slice(text.split('\0').next().unwrap_or_default().as_bytes());
        out.put_u8(0);
    };
    out.put_u32(members.len() as u32);
    for member in members {
        out.put_u64(member.id.0);
        text(out, &member.pg_connstr);
        text(out, &member.http_connstr);
    }
}

fn members(cursor: &mut Cursor) -> Result<Vec<Member>, DecodeError> {
    // A member takes ten bytes at least: its id and two empty texts.
    let count = cursor.count(10, "members")?;
    (0..count)
        .map(|_| {
            let id = NodeId(cursor.u64("member id")?);
            let pg_connstr = cursor.text("pg address")?;
            let http_connstr = cursor.text("http address")?;
            Ok(Member { id, pg_connstr, http_connstr })
        })
        .collect()
}

fn put_history(out: &mut BytesMut, history: &TermHistory) {
    out.put_u32(history.lines().len() as u32);
    for line in history.lines() {
        out.put_u64(line.term.0);
        out.put_u64(line.lsn.0);
    }
}

fn history(cursor: &mut Cursor) -> Result<TermHistory, DecodeError> {
    let count = cursor.count(16, "history")?;
    let line = |cursor: &mut Cursor| -> Result<TermStart, DecodeError> {
        Ok(TermStart { term: Term(cursor.u64("term of history")?), lsn: Lsn(cursor.u64("lsn of history")?) })
    };
    let lines = (0..count).map(|_| line(cursor)).collect::<Result<Vec<_>, _>>()?;
    TermHistory::new(lines).map_err(|error| cursor.invalid("history", error.to_string()))
}

#[cfg(test)]
mod tests;
