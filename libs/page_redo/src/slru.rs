//! Pages of pg_xact and pg_multixact, which no record registers as blocks.
//!
//! ```text
//!  pg_xact              two bits for each transaction, the first in the lowest bits of a byte
//!  pg_multixact/offsets u32 for each multixact: the number of its first member
//!  pg_multixact/members groups of 20 bytes, 409 a page: four status bytes, then four transaction ids
//! ```
//! [`slru_changes`] says what a record does to them. Truncation removes whole segments and is not a change
//! of a page.

use pg_format::rmgr as ids;
use types::{BLCKSZ, PgVersion, SlruKind};
use wal_decoder::DecodedRecord;

use crate::bytes_reader::Reader;
use crate::error::{Fault, Place, RedoError};
use crate::native::{MultiXactMember, MultiXactStart, NativeChange, XidStatus};
use crate::page::Page;
use crate::rmgr;

const XIDS_PER_PAGE: u32 = BLCKSZ as u32 * 4;
const OFFSETS_PER_PAGE: u32 = BLCKSZ as u32 / 4;
const MEMBERS_PER_GROUP: u32 = 4;
const GROUP_SIZE: u32 = 20;
const GROUPS_PER_PAGE: u32 = BLCKSZ as u32 / GROUP_SIZE;
const MEMBERS_PER_PAGE: u32 = GROUPS_PER_PAGE * MEMBERS_PER_GROUP;
const FIRST_MULTIXACT: u32 = 1;

/// `TransactionIdSetStatusBit`, for each of `xids`.
pub(crate) fn set_xid_status(page: &mut Page<'_>, status: XidStatus, xids: &[u32]) -> Result<(), Fault> {
    for xid in xids {
        let on_page = xid % XIDS_PER_PAGE;
        let (at, shift) = ((on_page / 4) as usize, (on_page % 4) * 2);
        page.bytes[at] = page.bytes[at] & !(3 << shift) | (status as u8) << shift;
    }
    Ok(())
}

/// The offsets that `RecordNewMultiXact` writes.
pub(crate) fn set_multixact_starts(page: &mut Page<'_>, starts: &[MultiXactStart]) -> Result<(), Fault> {
    for MultiXactStart { multixact, offset } in starts {
        page.write_at((multixact % OFFSETS_PER_PAGE) as usize * 4, &offset.to_le_bytes())?;
    }
    Ok(())
}

/// The members that `RecordNewMultiXact` writes.
pub(crate) fn set_multixact_members(
    page: &mut Page<'_>,
    first_offset: u32,
    members: &[MultiXactMember],
) -> Result<(), Fault> {
    for (index, MultiXactMember { xid, status }) in members.iter().enumerate() {
        let on_page = first_offset.wrapping_add(index as u32) % MEMBERS_PER_PAGE;
        let group = (on_page / MEMBERS_PER_GROUP * GROUP_SIZE) as usize;
        let in_group = (on_page % MEMBERS_PER_GROUP) as usize;
        page.write_at(group + in_group, &[*status])?;
        page.write_at(group + 4 + in_group * 4, &xid.to_le_bytes())?;
    }
    Ok(())
}

/// A change of a page of an SLRU: its kind, segment, block in the segment, and what happens to it.
pub type SlruChange = (SlruKind, u32, u32, NativeChange);

fn on_page(kind: SlruKind, page: u32, change: NativeChange) -> SlruChange {
    (kind, page / SlruKind::BLOCKS_PER_SEGMENT, page % SlruKind::BLOCKS_PER_SEGMENT, change)
}

/// What a record does to pages of SLRUs; not more than one change for a page.
///
/// A page may be named before a record makes it with zeros: the offset of the next multixact may be the
/// first on its page, which PostgreSQL before 15.16 made later. A page that is not there begins as zeros.
pub fn slru_changes(record: &DecodedRecord, version: PgVersion) -> Result<Vec<SlruChange>, RedoError> {
    let changes = match record.header.rmid {
        ids::XACT => xact_changes(record, version),
        ids::CLOG => clog_changes(record, version),
        ids::MULTIXACT => multixact_changes(record),
        _ => Ok(Vec::new()),
    };
    changes.map_err(|fault| {
        let header = &record.header;
        let rmgr = rmgr::name(header.rmid);
        RedoError::new(fault, Place { rmgr, opcode: header.info & 0xf0, lsn: record.end_lsn, block: None })
    })
}

const XLOG_XACT_OPMASK: u8 = 0x70;
const XLOG_XACT_HAS_INFO: u8 = 0x80;
const XLOG_XACT_COMMIT: u8 = 0x00;
const XLOG_XACT_ABORT: u8 = 0x20;
const XLOG_XACT_COMMIT_PREPARED: u8 = 0x30;
const XLOG_XACT_ABORT_PREPARED: u8 = 0x40;

/// `xact_redo_commit`, `xact_redo_abort`: `TransactionIdSetTreeStatus`, one change for each page.
fn xact_changes(record: &DecodedRecord, version: PgVersion) -> Result<Vec<SlruChange>, Fault> {
    let (status, prepared) = match record.header.info & XLOG_XACT_OPMASK {
        XLOG_XACT_COMMIT => (XidStatus::Committed, false),
        XLOG_XACT_COMMIT_PREPARED => (XidStatus::Committed, true),
        XLOG_XACT_ABORT => (XidStatus::Aborted, false),
        XLOG_XACT_ABORT_PREPARED => (XidStatus::Aborted, true),
        _ => return Ok(Vec::new()),
    };
    let end = XactEnd::read(record, version)?;
    let xid = if prepared {
        end.twophase_xid.ok_or(Fault::Malformed("no prepared xid"))?
    } else {
        record.header.xid
    };
    let mut pages: Vec<(u32, Vec<u32>)> = Vec::new();
    for xid in std::iter::once(xid).chain(end.subxids) {
        let page = xid / XIDS_PER_PAGE;
        match pages.iter_mut().find(|(other, _)| *other == page) {
            Some((_, xids)) => xids.push(xid),
            None => pages.push((page, vec![xid])),
        }
    }
    let timestamp = Some(end.timestamp);
    let change =
        |(page, xids)| on_page(SlruKind::Clog, page, NativeChange::ClogSet { status, timestamp, xids });
    Ok(pages.into_iter().map(change).collect())
}

/// What a commit or abort record says of transaction ids (`ParseCommitRecord`, `ParseAbortRecord`).
struct XactEnd {
    timestamp: i64,
    subxids: Vec<u32>,
    twophase_xid: Option<u32>,
}

impl XactEnd {
    fn read(record: &DecodedRecord, version: PgVersion) -> Result<XactEnd, Fault> {
        const HAS_DBINFO: u32 = 1 << 0;
        const HAS_SUBXACTS: u32 = 1 << 1;
        const HAS_RELFILENODES: u32 = 1 << 2;
        const HAS_INVALS: u32 = 1 << 3;
        const HAS_TWOPHASE: u32 = 1 << 4;
        const HAS_DROPPED_STATS: u32 = 1 << 8;
        // The same in both versions; the order of the parts is the order of this function.
        match version {
            PgVersion::V15 | PgVersion::V17 => {}
        }
        let mut main = Reader::new(&record.main_data);
        let timestamp = main.u64("timestamp")? as i64;
        let info = if record.header.info & XLOG_XACT_HAS_INFO != 0 { main.u32("xinfo")? } else { 0 };
        if info & HAS_DBINFO != 0 {
            main.skip(8, "database")?;
        }
        let mut subxids = Vec::new();
        if info & HAS_SUBXACTS != 0 {
            let count = main.u32("number of subtransactions")? as usize;
            let bytes = main.bytes(count.saturating_mul(4), "subtransactions")?;
            subxids.extend(
                bytes.chunks_exact(4).map(|xid| u32::from_le_bytes([xid[0], xid[1], xid[2], xid[3]])),
            );
        }
        for (part, size) in [(HAS_RELFILENODES, 12), (HAS_DROPPED_STATS, 12), (HAS_INVALS, 16)] {
            if info & part != 0 {
                let count = main.u32("count")? as usize;
                main.skip(count.saturating_mul(size), "dropped relations, statistics or invalidations")?;
            }
        }
        let twophase_xid = if info & HAS_TWOPHASE != 0 { Some(main.u32("prepared xid")?) } else { None };
        Ok(XactEnd { timestamp, subxids, twophase_xid })
    }
}

/// `clog_redo`
fn clog_changes(record: &DecodedRecord, version: PgVersion) -> Result<Vec<SlruChange>, Fault> {
    const CLOG_ZEROPAGE: u8 = 0x00;
    if record.header.info & 0xf0 != CLOG_ZEROPAGE {
        return Ok(Vec::new());
    }
    let mut main = Reader::new(&record.main_data);
    let page = match version {
        PgVersion::V15 => main.u32("page number")?,
        PgVersion::V17 => main.u64("page number")?.try_into().map_err(|_| Fault::Malformed("page number"))?,
    };
    Ok(vec![on_page(SlruKind::Clog, page, NativeChange::ZeroPage)])
}

/// `multixact_redo`
fn multixact_changes(record: &DecodedRecord) -> Result<Vec<SlruChange>, Fault> {
    const ZERO_OFF_PAGE: u8 = 0x00;
    const ZERO_MEM_PAGE: u8 = 0x10;
    const CREATE_ID: u8 = 0x20;
    let mut main = Reader::new(&record.main_data);
    // 17 writes the page number as 64 bits, whose low half comes first.
    match record.header.info & 0xf0 {
        ZERO_OFF_PAGE => {
            Ok(vec![on_page(SlruKind::MultiXactOffsets, main.u32("page number")?, NativeChange::ZeroPage)])
        }
        ZERO_MEM_PAGE => {
            Ok(vec![on_page(SlruKind::MultiXactMembers, main.u32("page number")?, NativeChange::ZeroPage)])
        }
        CREATE_ID => new_multixact(main),
        _ => Ok(Vec::new()),
    }
}

/// `RecordNewMultiXact` as of 15.16: besides its own offset a multixact writes where the next one will
/// begin, which is how readers know its length.
fn new_multixact(mut main: Reader<'_>) -> Result<Vec<SlruChange>, Fault> {
    let multixact = main.u32("multixact")?;
    let first_offset = main.u32("offset of members")?;
    let count = main.u32("number of members")?;
    let mut members = Vec::new();
    for _ in 0..count {
        let xid = main.u32("member")?;
        let status = main.u32("member's status")?;
        members.push(MultiXactMember {
            xid,
            status: status.try_into().map_err(|_| Fault::Malformed("status"))?,
        });
    }

    let next = multixact.wrapping_add(1).max(FIRST_MULTIXACT);
    // Offset 0 means "not there yet", so no multixact begins there.
    let next_offset = first_offset.wrapping_add(count).max(1);
    let own = MultiXactStart { multixact, offset: first_offset };
    let following = MultiXactStart { multixact: next, offset: next_offset };
    let (page, next_page) = (multixact / OFFSETS_PER_PAGE, next / OFFSETS_PER_PAGE);
    let starts =
        |page, starts| on_page(SlruKind::MultiXactOffsets, page, NativeChange::MultiXactOffsets(starts));
    let mut changes = if page == next_page {
        vec![starts(page, vec![own, following])]
    } else {
        vec![starts(page, vec![own]), starts(next_page, vec![following])]
    };

    let mut offset = first_offset;
    let mut rest = members.as_slice();
    while !rest.is_empty() {
        // Up to the end of the page, or of the numbers: the last page of all is not full.
        let room = (MEMBERS_PER_PAGE - offset % MEMBERS_PER_PAGE).min((u32::MAX - offset).saturating_add(1));
        let (here, behind) = rest.split_at(rest.len().min(room as usize));
        let change = NativeChange::MultiXactMembers { first_offset: offset, members: here.to_vec() };
        changes.push(on_page(SlruKind::MultiXactMembers, offset / MEMBERS_PER_PAGE, change));
        offset = offset.wrapping_add(here.len() as u32);
        rest = behind;
    }
    Ok(changes)
}
