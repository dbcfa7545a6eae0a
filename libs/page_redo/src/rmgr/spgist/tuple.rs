//! Pages and tuples of SP-GiST indexes.
//!
//! ```text
//!  special space:  0 flags u16   2 nRedirection u16   4 nPlaceholder u16   6 page id u16
//!  leaf tuple:     0 state (2 bits), size (30 bits)   4 t_info u16 (14 bits: next in the chain)   6 heap pointer
//!  dead tuple:     as a leaf tuple; 6 pointer inside the index   12 xid u32
//!  inner tuple:    0 state (2), all the same (1), number of nodes (13), size of the prefix (16)   4 size u16
//!                  8 prefix, then the nodes: index tuples whose pointers are the downlinks
//! ```

use crate::bytes_reader::Reader;
use crate::error::Fault;
use crate::page::{OffsetNumber, Page, Placement};

pub(super) const FLAG_LEAF: u16 = 1 << 2;
pub(super) const FLAG_NULLS: u16 = 1 << 3;

const OPAQUE_SIZE: usize = 8;
const REDIRECTIONS_AT: usize = 2;
const PLACEHOLDERS_AT: usize = 4;
const PAGE_ID: u16 = 0xff82;

const DEAD_TUPLE_SIZE: usize = 16;
const INNER_HEADER_SIZE: usize = 8;
const POINTER_AT: usize = 6;
const INVALID_BLOCK: u32 = u32::MAX;

/// `SPGIST_LIVE` and so on; live tuples are never made here.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum State {
    Redirect = 1,
    Dead = 2,
    Placeholder = 3,
}

/// What a redirection leads to, and for whom it must stay.
#[derive(Clone, Copy)]
pub(super) struct Redirection {
    pub block: u32,
    pub offset: OffsetNumber,
    pub xid: u32,
}

impl Redirection {
    /// For tuples that lead nowhere.
    pub const NONE: Redirection = Redirection { block: INVALID_BLOCK, offset: 0, xid: 0 };
}

/// Place of the special space.
fn opaque(page: &Page<'_>) -> Result<usize, Fault> {
    let special = page.special() as usize;
    page.slice(special, OPAQUE_SIZE).map_err(|_| Fault::PageState("not a page of an SP-GiST index"))?;
    Ok(special)
}

/// `SpGistInitPage`
pub(super) fn init_page(page: &mut Page<'_>, flags: u16) -> Result<(), Fault> {
    page.init(OPAQUE_SIZE);
    let place = opaque(page)?;
    page.write_at(place, &flags.to_le_bytes())?;
    page.write_at(place + 6, &PAGE_ID.to_le_bytes())
}

fn change_counter(page: &mut Page<'_>, at: usize, change: i32) -> Result<(), Fault> {
    let place = opaque(page)? + at;
    let changed = u16::try_from(i32::from(page.u16_at(place)?) + change);
    let changed =
        changed.map_err(|_| Fault::PageState("SP-GiST page has fewer dead tuples than expected"))?;
    page.write_at(place, &changed.to_le_bytes())
}

pub(super) fn change_redirections(page: &mut Page<'_>, change: i32) -> Result<(), Fault> {
    change_counter(page, REDIRECTIONS_AT, change)
}

pub(super) fn change_placeholders(page: &mut Page<'_>, change: i32) -> Result<(), Fault> {
    change_counter(page, PLACEHOLDERS_AT, change)
}

/// The next leaf tuple of a record.
pub(super) fn read_leaf<'a>(data: &mut Reader<'a>) -> Result<&'a [u8], Fault> {
    let mut ahead = *data;
    let size = ahead.u32("leaf tuple")? >> 2;
    data.bytes(size as usize, "leaf tuple")
}

/// The next inner tuple of a record.
pub(super) fn read_inner<'a>(data: &mut Reader<'a>) -> Result<&'a [u8], Fault> {
    let mut ahead = *data;
    ahead.skip(4, "inner tuple")?;
    let size = ahead.u16("inner tuple")?;
    data.bytes(size.into(), "inner tuple")
}

fn state_bits(page: &Page<'_>, offset: OffsetNumber) -> Result<u32, Fault> {
    Ok(page.u32_at(page.item_id(offset)?.offset())? & 3)
}

/// `addOrReplaceTuple`: what is there already must be a placeholder.
pub(super) fn add_or_replace(page: &mut Page<'_>, tuple: &[u8], offset: OffsetNumber) -> Result<(), Fault> {
    if offset <= page.max_offset() {
        if state_bits(page, offset)? != State::Placeholder as u32 {
            return Err(Fault::PageState("SP-GiST tuple to be replaced is not a placeholder"));
        }
        change_placeholders(page, -1)?;
        page.delete_item(offset)?;
    }
    page.add_item(tuple, Placement::Insert(offset)).map(drop)
}

/// Puts another tuple in the place of one.
pub(super) fn replace(page: &mut Page<'_>, tuple: &[u8], offset: OffsetNumber) -> Result<(), Fault> {
    page.delete_item(offset)?;
    page.add_item(tuple, Placement::Insert(offset)).map(drop)
}

/// Block numbers in item pointers have the high half first.
fn item_pointer(block: u32, offset: OffsetNumber) -> [u8; 6] {
    let ([high0, high1], [low0, low1]) = (((block >> 16) as u16).to_le_bytes(), (block as u16).to_le_bytes());
    let [offset0, offset1] = offset.to_le_bytes();
    [high0, high1, low0, low1, offset0, offset1]
}

/// `spgFormDeadTuple`
pub(super) fn dead_tuple(state: State, target: Redirection) -> [u8; DEAD_TUPLE_SIZE] {
    let target = if state == State::Redirect { target } else { Redirection::NONE };
    let mut tuple = [0; DEAD_TUPLE_SIZE];
    tuple[..4].copy_from_slice(&((DEAD_TUPLE_SIZE as u32) << 2 | state as u32).to_le_bytes());
    tuple[POINTER_AT..12].copy_from_slice(&item_pointer(target.block, target.offset));
    tuple[12..].copy_from_slice(&target.xid.to_le_bytes());
    tuple
}

/// `spgPageIndexMultiDelete`: dead tuples take the places of these; the one listed first gets `first`, the
/// others `rest`.
pub(super) fn bury(
    page: &mut Page<'_>,
    offsets: &[OffsetNumber],
    (first, rest): (State, State),
    target: Redirection,
) -> Result<(), Fault> {
    let Some(first_offset) = offsets.first() else {
        return Ok(());
    };
    let mut sorted = offsets.to_vec();
    sorted.sort_unstable();
    page.delete_items(&sorted)?;
    for offset in &sorted {
        let state = if offset == first_offset { first } else { rest };
        page.add_item(&dead_tuple(state, target), Placement::Insert(*offset))?;
        match state {
            State::Redirect => change_redirections(page, 1)?,
            State::Placeholder => change_placeholders(page, 1)?,
            State::Dead => {}
        }
    }
    Ok(())
}

/// Makes a placeholder of a redirection; its xid stays.
pub(super) fn redirect_to_placeholder(page: &mut Page<'_>, offset: OffsetNumber) -> Result<(), Fault> {
    let place = page.item_id(offset)?.offset();
    let state = page.u32_at(place)? & !3 | State::Placeholder as u32;
    page.write_at(place, &state.to_le_bytes())?;
    page.write_at(place + POINTER_AT, &item_pointer(INVALID_BLOCK, 0))
}

/// `SGLT_SET_NEXTOFFSET`
pub(super) fn set_next_in_chain(
    page: &mut Page<'_>,
    leaf: OffsetNumber,
    next: OffsetNumber,
) -> Result<(), Fault> {
    let place = page.item_id(leaf)?.offset() + 4;
    let info = page.u16_at(place)? & 0xc000 | next & 0x3fff;
    page.write_at(place, &info.to_le_bytes())
}

/// `spgUpdateNodeLink`: node number `node` of the inner tuple at `offset` leads to another place.
pub(super) fn set_downlink(
    page: &mut Page<'_>,
    offset: OffsetNumber,
    node: u16,
    (block, target): (u32, OffsetNumber),
) -> Result<(), Fault> {
    let item_id = page.item_id(offset)?;
    let head = page.u32_at(item_id.offset())?;
    let (nodes, prefix_size) = ((head >> 3 & 0x1fff) as u16, (head >> 16) as usize);
    if node >= nodes {
        return Err(Fault::PageState("inner tuple of an SP-GiST index has no such node"));
    }
    let mut place = item_id.offset() + INNER_HEADER_SIZE + prefix_size;
    for _ in 0..node {
        let size = page.u16_at(place + 6)? & 0x1fff;
        place += usize::from(size);
    }
    if place + 6 > item_id.offset() + item_id.length() {
        return Err(Fault::PageState("node of an SP-GiST index reaches past its tuple"));
    }
    page.write_at(place, &item_pointer(block, target))
}
