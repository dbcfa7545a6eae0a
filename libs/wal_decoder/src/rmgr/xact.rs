//! Ends of transactions (`xact.h`, `xactdesc.c`).
//!
//! ```text
//!  commit/abort: time i64, then as the bits of xinfo say (u32, present if info has 0x80):
//!    database oid, tablespace oid | n, subxids | n, relations | n, statistics (12 each) |
//!    n, invalidations (16 each; commits only) | two-phase xid, [gid, zero] | origin lsn, origin time
//!  prepare: the contents of the transaction's file in pg_twophase, but for its checksum
//! ```

use bytes::Bytes;
use types::{Fork, Lsn, Oid, PgVersion, RelTag, TransactionId};

use super::{read_main_data, unknown_opcode};
use crate::error::{DecodeError, Malformation};
use crate::reader::Reader;
use crate::record::DecodedRecord;

pub const XLOG_XACT_COMMIT: u8 = 0x00;
pub const XLOG_XACT_PREPARE: u8 = 0x10;
pub const XLOG_XACT_ABORT: u8 = 0x20;
pub const XLOG_XACT_COMMIT_PREPARED: u8 = 0x30;
pub const XLOG_XACT_ABORT_PREPARED: u8 = 0x40;
pub const XLOG_XACT_ASSIGNMENT: u8 = 0x50;
pub const XLOG_XACT_INVALIDATIONS: u8 = 0x60;
pub const XLOG_XACT_OPMASK: u8 = 0x70;
pub const XLOG_XACT_HAS_INFO: u8 = 0x80;

const HAS_DBINFO: u32 = 1 << 0;
const HAS_SUBXACTS: u32 = 1 << 1;
const HAS_RELATIONS: u32 = 1 << 2;
const HAS_INVALIDATIONS: u32 = 1 << 3;
const HAS_TWOPHASE: u32 = 1 << 4;
const HAS_ORIGIN: u32 = 1 << 5;
const HAS_GID: u32 = 1 << 7;
const HAS_DROPPED_STATS: u32 = 1 << 8;

const INVALIDATION_SIZE: usize = 16;
const STATS_ITEM_SIZE: usize = 12;
const PREPARE_HEADER_SIZE: usize = 72;
/// `TWOPHASE_MAGIC`
const PREPARE_MAGIC: u32 = 0x57f9_4534;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XactRecord {
    Commit(XactEnd),
    Abort(XactEnd),
    /// COMMIT PREPARED and ROLLBACK PREPARED: `xid` is the prepared transaction's.
    CommitPrepared(XactEnd),
    AbortPrepared(XactEnd),
    Prepare(XactPrepare),
    /// Subtransactions are made known to standbys; nothing changes.
    Assignment,
    /// Cache invalidations for logical decoding; nothing changes.
    Invalidations,
}

/// How a transaction ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XactEnd {
    /// The transaction that ended: of the record's header, or the prepared one.
    pub xid: TransactionId,
    /// Microseconds since 2000-01-01 UTC.
    pub time: i64,
    pub xinfo: u32,
    /// Database and its tablespace, where the record says them.
    pub database: Option<(Oid, Oid)>,
    /// Subtransactions that ended with it.
    pub subxids: Vec<TransactionId>,
    /// Relations that cease to exist, all forks of each; the fork of the tag is `Main`.
    pub dropped_relations: Vec<RelTag>,
    pub gid: Option<String>,
    /// Where and when it ended on the server it was replicated from.
    pub origin: Option<(Lsn, i64)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XactPrepare {
    pub xid: TransactionId,
    pub database: Oid,
    pub prepared_at: i64,
    pub gid: String,
    pub subxids: Vec<TransactionId>,
    pub dropped_on_commit: Vec<RelTag>,
    pub dropped_on_abort: Vec<RelTag>,
    /// Where it was prepared on the server it was replicated from, if it was.
    pub origin_lsn: Lsn,
    /// What pg_twophase holds of the transaction; `pg_format::two_phase` makes the file of it.
    pub state: Bytes,
}

/// The same in both versions.
pub fn decode(record: &DecodedRecord, _version: PgVersion) -> Result<XactRecord, DecodeError> {
    let xid = record.header.xid;
    let has_info = record.header.info & XLOG_XACT_HAS_INFO != 0;
    read_main_data(record, |reader, opcode| match opcode & XLOG_XACT_OPMASK {
        XLOG_XACT_COMMIT => xact_end(reader, xid, has_info, true).map(XactRecord::Commit),
        XLOG_XACT_ABORT => xact_end(reader, xid, has_info, false).map(XactRecord::Abort),
        XLOG_XACT_COMMIT_PREPARED => {
            prepared_end(reader, xid, has_info, true).map(XactRecord::CommitPrepared)
        }
        XLOG_XACT_ABORT_PREPARED => prepared_end(reader, xid, has_info, false).map(XactRecord::AbortPrepared),
        XLOG_XACT_PREPARE => prepare(reader, record.main_data.clone()).map(XactRecord::Prepare),
        XLOG_XACT_ASSIGNMENT => Ok(XactRecord::Assignment),
        XLOG_XACT_INVALIDATIONS => Ok(XactRecord::Invalidations),
        opcode => unknown_opcode("the opcode of a transaction record", opcode),
    })
}

fn xact_end(
    reader: &mut Reader,
    xid: TransactionId,
    has_info: bool,
    commit: bool,
) -> Result<XactEnd, Malformation> {
    let mut end = XactEnd { xid, time: reader.i64("the time of a transaction's end")?, ..XactEnd::default() };
    if has_info {
        end.xinfo = reader.u32("a transaction's end")?;
    }
    if end.xinfo & HAS_DBINFO != 0 {
        end.database =
            Some((reader.u32("a transaction's database")?, reader.u32("a transaction's database")?));
    }
    if end.xinfo & HAS_SUBXACTS != 0 {
        let count = reader.count(4, "the number of subtransactions")?;
        end.subxids = reader.u32_list(count, "subtransactions")?;
    }
    if end.xinfo & HAS_RELATIONS != 0 {
        let count = reader.count(12, "the number of dropped relations")?;
        end.dropped_relations = relations(reader, count)?;
    }
    if end.xinfo & HAS_DROPPED_STATS != 0 {
        skip_counted(reader, STATS_ITEM_SIZE, "dropped statistics")?;
    }
    if commit && end.xinfo & HAS_INVALIDATIONS != 0 {
        skip_counted(reader, INVALIDATION_SIZE, "cache invalidations")?;
    }
    if end.xinfo & HAS_TWOPHASE != 0 {
        end.xid = reader.u32("a prepared transaction's xid")?;
        if end.xinfo & HAS_GID != 0 {
            end.gid = Some(reader.c_string("a prepared transaction's name")?);
        }
    }
    if end.xinfo & HAS_ORIGIN != 0 {
        end.origin = Some((reader.lsn("a transaction's origin")?, reader.i64("a transaction's origin")?));
    }
    Ok(end)
}

fn prepared_end(
    reader: &mut Reader,
    xid: TransactionId,
    has_info: bool,
    commit: bool,
) -> Result<XactEnd, Malformation> {
    let end = xact_end(reader, xid, has_info, commit)?;
    if end.xinfo & HAS_TWOPHASE == 0 {
        return Err(Malformation::Contradiction("end of a prepared transaction does not name it"));
    }
    Ok(end)
}

fn relations(reader: &mut Reader, count: usize) -> Result<Vec<RelTag>, Malformation> {
    reader.list(count, |reader| reader.rel(Fork::Main, "a dropped relation"))
}

fn skip_counted(reader: &mut Reader, size: usize, what: &'static str) -> Result<(), Malformation> {
    let count = reader.count(size, what)?;
    reader.skip(count * size, what)
}

/// `xl_xact_prepare`, then arrays that each begin at a multiple of 8.
fn prepare(reader: &mut Reader, state: Bytes) -> Result<XactPrepare, Malformation> {
    const WHAT: &str = "a prepared transaction";
    let length = reader.remaining();
    let magic = reader.u32(WHAT)?;
    if magic != PREPARE_MAGIC {
        return Err(Malformation::Field {
            what: "the magic number of a prepared transaction",
            got: magic.into(),
        });
    }
    reader.skip(4, WHAT)?; // length of the file
    let xid = reader.u32(WHAT)?;
    let database = reader.u32(WHAT)?;
    let prepared_at = reader.i64(WHAT)?;
    reader.skip(4, WHAT)?; // owner
    let count_at = |reader: &mut Reader| reader.u32(WHAT).map(|count| count as usize);
    let (subxacts, commit_rels, abort_rels) = (count_at(reader)?, count_at(reader)?, count_at(reader)?);
    reader.skip(12 + 2, WHAT)?; // numbers of statistics and invalidations, a flag
    let gid_length = reader.u16(WHAT)? as usize;
    let origin_lsn = reader.lsn(WHAT)?;
    reader.skip(PREPARE_HEADER_SIZE - (length - reader.remaining()), WHAT)?;
    let gid = reader.bytes(gid_length, WHAT)?;
    align(reader, length)?;
    let subxids = checked_list(reader, length, subxacts, |reader| reader.u32(WHAT))?;
    let mut rels = |count| {
        checked_list(reader, length, count, |reader| reader.rel(Fork::Main, "a relation dropped at the end"))
    };
    let (dropped_on_commit, dropped_on_abort) = (rels(commit_rels)?, rels(abort_rels)?);
    let gid = String::from_utf8_lossy(&gid).trim_end_matches('\0').to_owned();
    Ok(XactPrepare {
        xid,
        database,
        prepared_at,
        gid,
        subxids,
        dropped_on_commit,
        dropped_on_abort,
        origin_lsn,
        state,
    })
}

fn checked_list<T>(
    reader: &mut Reader,
    length: usize,
    count: usize,
    item: impl FnMut(&mut Reader) -> Result<T, Malformation>,
) -> Result<Vec<T>, Malformation> {
    // Every item has at least four bytes: more than that cannot be meant.
    if count > reader.remaining() / 4 {
        return Err(Malformation::Truncated("a list of a prepared transaction"));
    }
    let list = reader.list(count, item)?;
    align(reader, length)?;
    Ok(list)
}

fn align(reader: &mut Reader, length: usize) -> Result<(), Malformation> {
    let position = length - reader.remaining();
    let padding = position.next_multiple_of(8) - position;
    // The last chunk of a record is not padded where nothing follows.
    reader.skip(padding.min(reader.remaining()), "padding")
}
