//! What travels inside COPY BOTH after `START_WAL_PUSH`: the messages of [`consensus`], in bytes.
//!
//! ```text
//! proposer   'g'  version u8 = 1  tenant 16  timeline 16  pg_version u32  system_id u64  wal_seg_size u32  configuration
//!            'v'  generation u32  term u64
//!            'e'  generation u32  term u64  start_streaming_at u64  history
//!            'a'  generation u32  term u64  begin u64  commit u64  horizon u64  WAL bytes to the end
//! acceptor   'g'  version u8 = 1  node u64  term u64  configuration
//!            'v'  generation u32  term u64  vote_given u8  flush u64  commit u64  history
//!            'a'  generation u32  term u64  flush u64  commit u64  pageserver u64
//!
//! configuration   generation u32  members  has_new u8  [members]
//! members         n u32  n × (id u64  pg_connstr text  http_connstr text)        text = length u16, UTF-8
//! history         n u32  n × (term u64  lsn u64)
//! ```
//! Big-endian, one message in each CopyData. Nothing may follow a message's last field.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use consensus::{
    AcceptorGreeting, AcceptorMessage, AppendRequest, AppendResponse, Configuration, Elected, Member,
    MembershipGeneration, ProposerGreeting, ProposerMessage, TermHistory, TermStart, TimelineIdentity,
    VoteRequest, VoteResponse,
};
use types::{Lsn, NodeId, PgVersion, TenantId, TenantTimelineId, Term, TimelineId, WalSegmentSize};

/// The number in `START_WAL_PUSH (proto_version '1')` and in the greetings.
pub const PROTO_VERSION: u8 = 1;

/// More lines than any timeline's history will have, so that a hostile count is not believed.
const MAX_HISTORY: usize = 1 << 20;
const MAX_MEMBERS: usize = 256;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PushMessageError {
    #[error("a message of unknown kind {0:#04x}")]
    UnknownKind(u8),
    #[error("the message ends before its {0}")]
    Short(&'static str),
    #[error("{0} bytes follow the end of the message")]
    Trailing(usize),
    #[error("protocol version {theirs}, this program speaks {PROTO_VERSION}")]
    Version { theirs: u8 },
    #[error("the {field} makes no sense: {reason}")]
    Field { field: &'static str, reason: String },
}

type Result<T> = std::result::Result<T, PushMessageError>;

pub fn encode_proposer_message(message: &ProposerMessage) -> Bytes {
    let mut out = BytesMut::new();
    match message {
        ProposerMessage::Greeting(greeting) => {
            out.put_u8(b'g');
            out.put_u8(PROTO_VERSION);
            put_identity(&mut out, &greeting.identity);
            put_configuration(&mut out, &greeting.configuration);
        }
        ProposerMessage::VoteRequest(request) => put_head(&mut out, b'v', request.generation, request.term),
        ProposerMessage::Elected(elected) => {
            put_head(&mut out, b'e', elected.generation, elected.term);
            out.put_u64(elected.start_streaming_at.0);
            put_history(&mut out, &elected.history);
        }
        ProposerMessage::AppendRequest(request) => {
            out.reserve(40 + request.wal.len());
            put_head(&mut out, b'a', request.generation, request.term);
            put_lsns(&mut out, [request.begin_lsn, request.commit_lsn, request.horizon_lsn]);
            out.put_slice(&request.wal);
        }
    }
    out.freeze()
}

pub fn decode_proposer_message(message: Bytes) -> Result<ProposerMessage> {
    let mut input = Input(message);
    let decoded = match input.u8("kind")? {
        b'g' => {
            input.version()?;
            ProposerMessage::Greeting(ProposerGreeting {
                identity: input.identity()?,
                configuration: input.configuration()?,
            })
        }
        b'v' => {
            ProposerMessage::VoteRequest(VoteRequest { generation: input.generation()?, term: input.term()? })
        }
        b'e' => ProposerMessage::Elected(Elected {
            generation: input.generation()?,
            term: input.term()?,
            start_streaming_at: input.lsn("start")?,
            history: input.history()?,
        }),
        b'a' => ProposerMessage::AppendRequest(AppendRequest {
            generation: input.generation()?,
            term: input.term()?,
            begin_lsn: input.lsn("begin")?,
            commit_lsn: input.lsn("commit LSN")?,
            horizon_lsn: input.lsn("horizon")?,
            wal: std::mem::take(&mut input.0),
        }),
        kind => return Err(PushMessageError::UnknownKind(kind)),
    };
    input.end()?;
    Ok(decoded)
}

pub fn encode_acceptor_message(message: &AcceptorMessage) -> Bytes {
    let mut out = BytesMut::new();
    match message {
        AcceptorMessage::Greeting(greeting) => {
            out.put_u8(b'g');
            out.put_u8(PROTO_VERSION);
            out.put_u64(greeting.node_id.0);
            out.put_u64(greeting.term.0);
            put_configuration(&mut out, &greeting.configuration);
        }
        AcceptorMessage::VoteResponse(response) => {
            put_head(&mut out, b'v', response.generation, response.term);
            out.put_u8(u8::from(response.vote_given));
            put_lsns(&mut out, [response.flush_lsn, response.commit_lsn]);
            put_history(&mut out, &response.history);
        }
        AcceptorMessage::AppendResponse(response) => {
            put_head(&mut out, b'a', response.generation, response.term);
            put_lsns(&mut out, [response.flush_lsn, response.commit_lsn, response.pageserver_lsn]);
        }
    }
    out.freeze()
}

pub fn decode_acceptor_message(message: Bytes) -> Result<AcceptorMessage> {
    let mut input = Input(message);
    let decoded = match input.u8("kind")? {
        b'g' => {
            input.version()?;
            AcceptorMessage::Greeting(AcceptorGreeting {
                node_id: NodeId(input.u64("node id")?),
                term: input.term()?,
                configuration: input.configuration()?,
            })
        }
        b'v' => AcceptorMessage::VoteResponse(VoteResponse {
            generation: input.generation()?,
            term: input.term()?,
            vote_given: input.flag("vote")?,
            flush_lsn: input.lsn("flush LSN")?,
            commit_lsn: input.lsn("commit LSN")?,
            history: input.history()?,
        }),
        b'a' => AcceptorMessage::AppendResponse(AppendResponse {
            generation: input.generation()?,
            term: input.term()?,
            flush_lsn: input.lsn("flush LSN")?,
            commit_lsn: input.lsn("commit LSN")?,
            pageserver_lsn: input.lsn("pageserver LSN")?,
        }),
        kind => return Err(PushMessageError::UnknownKind(kind)),
    };
    input.end()?;
    Ok(decoded)
}

fn put_head(out: &mut BytesMut, kind: u8, generation: MembershipGeneration, term: Term) {
    out.put_u8(kind);
    out.put_u32(generation.0);
    out.put_u64(term.0);
}

fn put_lsns<const N: usize>(out: &mut BytesMut, lsns: [Lsn; N]) {
    for lsn in lsns {
        out.put_u64(lsn.0);
    }
}

fn put_identity(out: &mut BytesMut, identity: &TimelineIdentity) {
    out.put_slice(identity.ttid.tenant_id.as_bytes());
    out.put_slice(identity.ttid.timeline_id.as_bytes());
    out.put_u32(identity.pg_version.major());
    out.put_u64(identity.system_id);
    out.put_u32(identity.wal_seg_size.into());
}

fn put_history(out: &mut BytesMut, history: &TermHistory) {
    out.put_u32(history.lines().len() as u32);
    for line in history.lines() {
        out.put_u64(line.term.0);
        out.put_u64(line.lsn.0);
    }
}

fn put_configuration(out: &mut BytesMut, configuration: &Configuration) {
    out.put_u32(configuration.generation.0);
    put_members(out, &configuration.members);
    out.put_u8(u8::from(configuration.new_members.is_some()));
    if let Some(members) = &configuration.new_members {
        put_members(out, members);
    }
}

fn put_members(out: &mut BytesMut, members: &[Member]) {
    out.put_u32(members.len() as u32);
    for member in members {
        out.put_u64(member.id.0);
        for text in [&member.pg_connstr, &member.http_connstr] {
            // An address is far shorter than 64 KiB; a longer one would be cut, and then be of no use.
            let bytes = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
            out.put_u16(bytes.len() as u16);
            out.put_slice(bytes);
        }
    }
}

/// A message being read; every read says what is missing when it ends early.
struct Input(Bytes);

impl Input {
    fn need(&self, length: usize, what: &'static str) -> Result<()> {
        if self.0.remaining() < length { Err(PushMessageError::Short(what)) } else { Ok(()) }
    }

    fn u8(&mut self, what: &'static str) -> Result<u8> {
        self.need(1, what)?;
        Ok(self.0.get_u8())
    }

    fn u32(&mut self, what: &'static str) -> Result<u32> {
        self.need(4, what)?;
        Ok(self.0.get_u32())
    }

    fn u64(&mut self, what: &'static str) -> Result<u64> {
        self.need(8, what)?;
        Ok(self.0.get_u64())
    }

    fn lsn(&mut self, what: &'static str) -> Result<Lsn> {
        self.u64(what).map(Lsn)
    }

    fn term(&mut self) -> Result<Term> {
        self.u64("term").map(Term)
    }

    fn generation(&mut self) -> Result<MembershipGeneration> {
        self.u32("generation").map(MembershipGeneration)
    }

    fn flag(&mut self, what: &'static str) -> Result<bool> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            other => {
                Err(PushMessageError::Field { field: what, reason: format!("{other} is neither 0 nor 1") })
            }
        }
    }

    fn version(&mut self) -> Result<()> {
        match self.u8("version")? {
            PROTO_VERSION => Ok(()),
            theirs => Err(PushMessageError::Version { theirs }),
        }
    }

    fn id(&mut self, what: &'static str) -> Result<[u8; 16]> {
        self.need(16, what)?;
        let mut id = [0; 16];
        self.0.copy_to_slice(&mut id);
        Ok(id)
    }

    fn identity(&mut self) -> Result<TimelineIdentity> {
        let field = |field, reason: String| PushMessageError::Field { field, reason };
        let tenant_id = TenantId(self.id("tenant id")?);
        let timeline_id = TimelineId(self.id("timeline id")?);
        let pg_version = PgVersion::try_from(self.u32("PostgreSQL version")?)
            .map_err(|error| field("PostgreSQL version", error.to_string()))?;
        let system_id = self.u64("system identifier")?;
        let wal_seg_size = WalSegmentSize::try_from(self.u32("WAL segment size")?)
            .map_err(|error| field("WAL segment size", error))?;
        let ttid = TenantTimelineId::new(tenant_id, timeline_id);
        Ok(TimelineIdentity { ttid, pg_version, system_id, wal_seg_size })
    }

    fn count(&mut self, limit: usize, what: &'static str) -> Result<usize> {
        let count = self.u32(what)? as usize;
        if count > limit {
            return Err(PushMessageError::Field { field: what, reason: format!("{count} entries") });
        }
        Ok(count)
    }

    fn history(&mut self) -> Result<TermHistory> {
        let count = self.count(MAX_HISTORY, "term history")?;
        // Checked before anything is reserved for it.
        self.need(count * 16, "term history")?;
        let mut lines = Vec::with_capacity(count);
        for _ in 0..count {
            lines.push(TermStart { term: self.term()?, lsn: self.lsn("term history")? });
        }
        TermHistory::new(lines)
            .map_err(|error| PushMessageError::Field { field: "term history", reason: error.to_string() })
    }

    fn configuration(&mut self) -> Result<Configuration> {
        let generation = self.generation()?;
        let members = self.members()?;
        let new_members = if self.flag("configuration")? { Some(self.members()?) } else { None };
        Ok(Configuration { generation, members, new_members })
    }

    fn members(&mut self) -> Result<Vec<Member>> {
        let count = self.count(MAX_MEMBERS, "members")?;
        let mut members = Vec::new();
        for _ in 0..count {
            let id = NodeId(self.u64("member id")?);
            members.push(Member { id, pg_connstr: self.text()?, http_connstr: self.text()? });
        }
        Ok(members)
    }

    fn text(&mut self) -> Result<String> {
        self.need(2, "address")?;
        let length = usize::from(self.0.get_u16());
        self.need(length, "address")?;
        String::from_utf8(self.0.split_to(length).to_vec())
            .map_err(|error| PushMessageError::Field { field: "address", reason: error.to_string() })
    }

    fn end(self) -> Result<()> {
        match self.0.remaining() {
            0 => Ok(()),
            more => Err(PushMessageError::Trailing(more)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn configuration(joint: bool) -> Configuration {
        let member = |id: u64| Member {
            id: NodeId(id),
            pg_connstr: format!("10.0.0.{id}:5454"),
            http_connstr: format!("sk{id}.example:7676"),
        };
        let new_members = joint.then(|| vec![member(3), member(4)]);
        Configuration {
            generation: MembershipGeneration(7),
            members: vec![member(1), member(2)],
            new_members,
        }
    }

    fn history() -> TermHistory {
        let line = |term, lsn| TermStart { term: Term(term), lsn: Lsn(lsn) };
        TermHistory::new(vec![line(0, 8), line(3, 16), line(9, 16)]).unwrap()
    }

    fn proposer_messages() -> Vec<ProposerMessage> {
        let identity = TimelineIdentity {
            ttid: TenantTimelineId::new(TenantId([1; 16]), TimelineId([2; 16])),
            pg_version: PgVersion::V15,
            system_id: u64::MAX - 1,
            wal_seg_size: WalSegmentSize::DEFAULT,
        };
        let (generation, term) = (MembershipGeneration(7), Term(9));
        vec![
            ProposerMessage::Greeting(ProposerGreeting { identity, configuration: configuration(false) }),
            ProposerMessage::Greeting(ProposerGreeting { identity, configuration: configuration(true) }),
            ProposerMessage::VoteRequest(VoteRequest { generation, term }),
            ProposerMessage::Elected(Elected {
                generation,
                term,
                start_streaming_at: Lsn(16),
                history: history(),
            }),
            ProposerMessage::AppendRequest(AppendRequest {
                generation,
                term,
                begin_lsn: Lsn(16),
                commit_lsn: Lsn(12),
                horizon_lsn: Lsn(8),
                wal: Bytes::from_static(b"some WAL"),
            }),
        ]
    }

    fn acceptor_messages() -> Vec<AcceptorMessage> {
        let (generation, term) = (MembershipGeneration(7), Term(9));
        let (flush_lsn, commit_lsn, pageserver_lsn) = (Lsn(30), Lsn(20), Lsn(10));
        vec![
            AcceptorMessage::Greeting(AcceptorGreeting {
                node_id: NodeId(1),
                configuration: configuration(true),
                term,
            }),
            AcceptorMessage::VoteResponse(VoteResponse {
                generation,
                term,
                vote_given: true,
                flush_lsn,
                commit_lsn,
                history: history(),
            }),
            AcceptorMessage::AppendResponse(AppendResponse {
                generation,
                term,
                flush_lsn,
                commit_lsn,
                pageserver_lsn,
            }),
        ]
    }

    #[test]
    fn messages_survive_the_wire() {
        for message in proposer_messages() {
            assert_eq!(decode_proposer_message(encode_proposer_message(&message)), Ok(message));
        }
        for message in acceptor_messages() {
            assert_eq!(decode_acceptor_message(encode_acceptor_message(&message)), Ok(message));
        }
    }

    #[test]
    fn cut_and_lengthened_messages_are_errors() {
        for message in acceptor_messages() {
            let whole = encode_acceptor_message(&message);
            for length in 0..whole.len() {
                assert!(decode_acceptor_message(whole.slice(..length)).is_err(), "{message:?} at {length}");
            }
            let longer = Bytes::from([&whole[..], b"x"].concat());
            assert_eq!(decode_acceptor_message(longer), Err(PushMessageError::Trailing(1)));
        }
        let greeting = encode_proposer_message(&proposer_messages()[0]);
        for length in 0..greeting.len() {
            assert!(decode_proposer_message(greeting.slice(..length)).is_err(), "{length}");
        }
        let mut other = greeting.to_vec();
        other[1] = 2;
        assert_eq!(decode_proposer_message(other.into()), Err(PushMessageError::Version { theirs: 2 }));
    }

    proptest! {
        #[test]
        fn hostile_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0..3_usize) {
            let mut bytes = bytes;
            bytes.insert(0, b"gva"[kind]);
            let _ = decode_proposer_message(bytes.clone().into());
            let _ = decode_acceptor_message(bytes.into());
        }
    }
}
