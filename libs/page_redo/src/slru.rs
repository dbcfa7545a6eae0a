//! Pages of pg_xact and pg_multixact, which no record registers as blocks.
//!
//! ```text
//!  pg_xact              two bits for each transaction, the first in the lowest bits of a byte
//!  pg_multixact/offsets u32 for each multixact: the number of its first member
//!  pg_multixact/members groups of 20 bytes, 409 a page: four status bytes, then four transaction ids
//! ```
//! [`slru_changes`] says what a record does to them. Truncation removes whole segments and is not a change
//! of a page: see `slru_truncation`.

use pg_format::rmgr as ids;
use types::{BLCKSZ, PgVersion, SlruKind};
use wal_decoder::DecodedRecord;
use wal_decoder::rmgr::clog::{self, ClogRecord};
use wal_decoder::rmgr::multixact::{self, MultiXactCreate, MultiXactRecord};
use wal_decoder::rmgr::xact::{self, XactEnd, XactRecord};

use crate::error::{Fault, Place, RedoError};
use crate::native::{MultiXactMember, MultiXactStart, NativeChange, XidStatus};
use crate::page::Page;
use crate::rmgr;

pub(crate) const XIDS_PER_PAGE: u32 = BLCKSZ as u32 * 4;
pub(crate) const OFFSETS_PER_PAGE: u32 = BLCKSZ as u32 / 4;
const MEMBERS_PER_GROUP: u32 = 4;
const GROUP_SIZE: u32 = 20;
const GROUPS_PER_PAGE: u32 = BLCKSZ as u32 / GROUP_SIZE;
pub(crate) const MEMBERS_PER_PAGE: u32 = GROUPS_PER_PAGE * MEMBERS_PER_GROUP;
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
        ids::XACT => xact::decode(record, version).map(xact_changes),
        ids::CLOG => clog::decode(record, version).map(clog_changes),
        ids::MULTIXACT => multixact::decode(record, version).map(multixact_changes),
        _ => return Ok(Vec::new()),
    };
    changes.map_err(|_| {
        let fault = Fault::Malformed("main data of the record");
        let header = &record.header;
        let rmgr = rmgr::name(header.rmid);
        RedoError::new(fault, Place { rmgr, opcode: header.info & 0xf0, lsn: record.end_lsn, block: None })
    })
}

/// `xact_redo`
fn xact_changes(record: XactRecord) -> Vec<SlruChange> {
    match record {
        XactRecord::Commit(end) | XactRecord::CommitPrepared(end) => xact_end(end, XidStatus::Committed),
        XactRecord::Abort(end) | XactRecord::AbortPrepared(end) => xact_end(end, XidStatus::Aborted),
        XactRecord::Prepare(_) | XactRecord::Assignment | XactRecord::Invalidations => Vec::new(),
    }
}

/// `TransactionIdSetTreeStatus`: one change for each page.
fn xact_end(end: XactEnd, status: XidStatus) -> Vec<SlruChange> {
    let mut pages: Vec<(u32, Vec<u32>)> = Vec::new();
    for xid in std::iter::once(end.xid).chain(end.subxids) {
        let page = xid / XIDS_PER_PAGE;
        match pages.iter_mut().find(|(other, _)| *other == page) {
            Some((_, xids)) => xids.push(xid),
            None => pages.push((page, vec![xid])),
        }
    }
    let timestamp = Some(end.time);
    let change =
        |(page, xids)| on_page(SlruKind::Clog, page, NativeChange::ClogSet { status, timestamp, xids });
    pages.into_iter().map(change).collect()
}

/// `clog_redo`
fn clog_changes(record: ClogRecord) -> Vec<SlruChange> {
    match record {
        ClogRecord::ZeroPage { page } => vec![on_page(SlruKind::Clog, page, NativeChange::ZeroPage)],
        ClogRecord::Truncate { .. } => Vec::new(),
    }
}

/// `multixact_redo`
fn multixact_changes(record: MultiXactRecord) -> Vec<SlruChange> {
    match record {
        MultiXactRecord::ZeroOffsetsPage { page } => {
            vec![on_page(SlruKind::MultiXactOffsets, page, NativeChange::ZeroPage)]
        }
        MultiXactRecord::ZeroMembersPage { page } => {
            vec![on_page(SlruKind::MultiXactMembers, page, NativeChange::ZeroPage)]
        }
        MultiXactRecord::Create(create) => new_multixact(create),
        MultiXactRecord::Truncate(_) => Vec::new(),
    }
}

/// `RecordNewMultiXact` as of 15.16: besides its own offset a multixact writes where the next one will
/// begin, which is how readers know its length.
fn new_multixact(
    MultiXactCreate { multixact, offset: first_offset, members }: MultiXactCreate,
) -> Vec<SlruChange> {
    let count = members.len() as u32;
    // PostgreSQL knows six statuses; what does not fit a byte could not be kept either.
    let member = |member: &multixact::MultiXactMember| MultiXactMember {
        xid: member.xid,
        status: member.status as u8,
    };
    let members: Vec<MultiXactMember> = members.iter().map(member).collect();

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
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(multixact: u32, offset: u32, count: u32) -> Vec<SlruChange> {
        let member = |xid| multixact::MultiXactMember { xid, status: xid % 6 };
        new_multixact(MultiXactCreate { multixact, offset, members: (0..count).map(member).collect() })
    }

    fn start(multixact: u32, offset: u32) -> MultiXactStart {
        MultiXactStart { multixact, offset }
    }

    #[test]
    fn the_next_multixact_is_written_too() {
        let changes = create(5, 9, 2);
        let both = NativeChange::MultiXactOffsets(vec![start(5, 9), start(6, 11)]);
        assert_eq!(changes[0], (SlruKind::MultiXactOffsets, 0, 0, both));
        // Across a page boundary, here also a segment's.
        let last = OFFSETS_PER_PAGE * 32 - 1;
        let changes = create(last, 9, 1);
        let (own, next) = (vec![start(last, 9)], vec![start(last + 1, 10)]);
        assert_eq!(changes[0], (SlruKind::MultiXactOffsets, 0, 31, NativeChange::MultiXactOffsets(own)));
        assert_eq!(changes[1], (SlruKind::MultiXactOffsets, 1, 0, NativeChange::MultiXactOffsets(next)));
        // Around the end of the numbers: multixact 0 and offset 0 are not used.
        let changes = create(u32::MAX, u32::MAX, 1);
        assert_eq!(changes[1].3, NativeChange::MultiXactOffsets(vec![start(1, 1)]));
    }

    #[test]
    fn members_are_cut_at_page_ends_and_laid_out_in_groups() {
        let changes = create(5, MEMBERS_PER_PAGE - 1, 6);
        let pages: Vec<u32> = changes[1..].iter().map(|change| change.2).collect();
        assert_eq!(pages, [0, 1]);
        let NativeChange::MultiXactMembers { first_offset, members } = &changes[2].3 else { panic!() };
        assert_eq!((*first_offset, members.len()), (MEMBERS_PER_PAGE, 5));
        let mut bytes = [0xff; BLCKSZ];
        set_multixact_members(&mut Page::new(&mut bytes), *first_offset, members).unwrap();
        assert_eq!(bytes[..12], [1, 2, 3, 4, 1, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(bytes[20..28], [5, 0xff, 0xff, 0xff, 5, 0, 0, 0]);
        // The last page of all ends in its middle.
        let changes = create(5, u32::MAX, 2);
        assert_eq!((changes[1].2, changes[2].1, changes[2].2), ((u32::MAX / MEMBERS_PER_PAGE) % 32, 0, 0));
    }

    #[test]
    fn transactions_end_on_their_own_pages() {
        let end = XactEnd { xid: XIDS_PER_PAGE - 1, subxids: vec![XIDS_PER_PAGE, 7], ..XactEnd::default() };
        let changes = xact_end(end, XidStatus::Committed);
        assert_eq!(changes.iter().map(|change| change.2).collect::<Vec<u32>>(), [0, 1]);
        let mut bytes = [0; BLCKSZ];
        set_xid_status(&mut Page::new(&mut bytes), XidStatus::Aborted, &[5, 6]).unwrap();
        set_xid_status(&mut Page::new(&mut bytes), XidStatus::Committed, &[6]).unwrap();
        assert_eq!(bytes[1], 0b0001_1000);
    }
}
