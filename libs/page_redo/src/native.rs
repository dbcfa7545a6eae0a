//! [`NativeChange`]: changes of pages that PostgreSQL makes without registering the page in the record.
//!
//! ```text
//!  byte 0  format version, 1  kind (see `kind`), then, little-endian, v = varint:
//!   VmClear            v count, count × (heap block u32, flags u8)
//!   VmTruncate         heap blocks u32
//!   FsmTruncate        heap blocks u32
//!   ZeroPage           –
//!   ClogSet            status u8, timestamp i64 (0 = none), v count, count × xid u32
//!   MultiXactOffsets   v count, count × (multixact u32, offset u32)
//!   MultiXactMembers   first offset u32, v count, count × (xid u32, status u8)
//! ```

use crate::bytes_reader::{Reader, put_varint};
use crate::error::Fault;
use crate::page::Page;
use crate::{slru, vm};

const KIND_VM_CLEAR: u8 = 1;
const KIND_VM_TRUNCATE: u8 = 2;
const KIND_FSM_TRUNCATE: u8 = 3;
const KIND_ZERO_PAGE: u8 = 4;
const KIND_CLOG_SET: u8 = 5;
const KIND_MULTIXACT_OFFSETS: u8 = 6;
const KIND_MULTIXACT_MEMBERS: u8 = 7;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NativeChange {
    /// Clears bits of heap blocks in a page of their visibility map.
    VmClear(Vec<VmBits>),
    /// The heap was cut to so many blocks: the page of the visibility map that held the first block cut
    /// off loses that block's bits and all behind it.
    VmTruncate { heap_blocks: u32 },
    /// The same for the leaf page of the free space map.
    FsmTruncate { heap_blocks: u32 },
    /// A page of an SLRU begins as zeros.
    ZeroPage,
    /// Transactions ended. All of `xids` are on one page of pg_xact.
    ClogSet { status: XidStatus, timestamp: Option<i64>, xids: Vec<u32> },
    /// Where the members of multixacts begin. All of them are on one page.
    MultiXactOffsets(Vec<MultiXactStart>),
    /// Members from this offset on. All of them are on one page.
    MultiXactMembers { first_offset: u32, members: Vec<MultiXactMember> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmBits {
    pub heap_block: u32,
    /// `VISIBILITYMAP_*` bits to clear.
    pub flags: u8,
}

/// How a transaction ended (`TRANSACTION_STATUS_*` in clog.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum XidStatus {
    Committed = 1,
    Aborted = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MultiXactStart {
    pub multixact: u32,
    pub offset: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MultiXactMember {
    pub xid: u32,
    /// `MultiXactStatus`
    pub status: u8,
}

impl NativeChange {
    pub(crate) fn kind(&self) -> u8 {
        match self {
            NativeChange::VmClear(_) => KIND_VM_CLEAR,
            NativeChange::VmTruncate { .. } => KIND_VM_TRUNCATE,
            NativeChange::FsmTruncate { .. } => KIND_FSM_TRUNCATE,
            NativeChange::ZeroPage => KIND_ZERO_PAGE,
            NativeChange::ClogSet { .. } => KIND_CLOG_SET,
            NativeChange::MultiXactOffsets(_) => KIND_MULTIXACT_OFFSETS,
            NativeChange::MultiXactMembers { .. } => KIND_MULTIXACT_MEMBERS,
        }
    }

    pub(crate) fn will_init(&self) -> bool {
        match self {
            NativeChange::ZeroPage => true,
            NativeChange::VmClear(_)
            | NativeChange::VmTruncate { .. }
            | NativeChange::FsmTruncate { .. }
            | NativeChange::ClogSet { .. }
            | NativeChange::MultiXactOffsets(_)
            | NativeChange::MultiXactMembers { .. } => false,
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.kind());
        match self {
            NativeChange::VmClear(bits) => {
                put_varint(out, bits.len() as u32);
                for VmBits { heap_block, flags } in bits {
                    out.extend(heap_block.to_le_bytes());
                    out.push(*flags);
                }
            }
            NativeChange::VmTruncate { heap_blocks } | NativeChange::FsmTruncate { heap_blocks } => {
                out.extend(heap_blocks.to_le_bytes());
            }
            NativeChange::ZeroPage => {}
            NativeChange::ClogSet { status, timestamp, xids } => {
                out.push(*status as u8);
                out.extend(timestamp.unwrap_or(0).to_le_bytes());
                put_varint(out, xids.len() as u32);
                xids.iter().for_each(|xid| out.extend(xid.to_le_bytes()));
            }
            NativeChange::MultiXactOffsets(starts) => {
                put_varint(out, starts.len() as u32);
                for MultiXactStart { multixact, offset } in starts {
                    out.extend(multixact.to_le_bytes());
                    out.extend(offset.to_le_bytes());
                }
            }
            NativeChange::MultiXactMembers { first_offset, members } => {
                out.extend(first_offset.to_le_bytes());
                put_varint(out, members.len() as u32);
                for MultiXactMember { xid, status } in members {
                    out.extend(xid.to_le_bytes());
                    out.push(*status);
                }
            }
        }
    }

    /// `reader` stands behind the kind.
    pub(crate) fn decode(kind: u8, reader: &mut Reader<'_>) -> Result<NativeChange, Fault> {
        let change = match kind {
            KIND_VM_CLEAR => NativeChange::VmClear(list(reader, |r| {
                Ok(VmBits { heap_block: r.u32("heap block")?, flags: r.u8("visibility map bits")? })
            })?),
            KIND_VM_TRUNCATE => NativeChange::VmTruncate { heap_blocks: reader.u32("heap length")? },
            KIND_FSM_TRUNCATE => NativeChange::FsmTruncate { heap_blocks: reader.u32("heap length")? },
            KIND_ZERO_PAGE => NativeChange::ZeroPage,
            KIND_CLOG_SET => {
                let status = match reader.u8("transaction status")? {
                    1 => XidStatus::Committed,
                    2 => XidStatus::Aborted,
                    _ => return Err(Fault::Malformed("transaction status")),
                };
                let timestamp = Some(reader.u64("timestamp")? as i64).filter(|timestamp| *timestamp != 0);
                NativeChange::ClogSet { status, timestamp, xids: list(reader, |r| r.u32("xid"))? }
            }
            KIND_MULTIXACT_OFFSETS => NativeChange::MultiXactOffsets(list(reader, |r| {
                Ok(MultiXactStart { multixact: r.u32("multixact")?, offset: r.u32("offset of members")? })
            })?),
            KIND_MULTIXACT_MEMBERS => NativeChange::MultiXactMembers {
                first_offset: reader.u32("offset of members")?,
                members: list(reader, |r| {
                    Ok(MultiXactMember { xid: r.u32("member")?, status: r.u8("member's status")? })
                })?,
            },
            _ => return Err(Fault::Malformed("kind of change")),
        };
        if reader.is_empty() { Ok(change) } else { Err(Fault::Malformed("bytes behind a change")) }
    }

    pub(crate) fn apply(&self, page: &mut Page<'_>) -> Result<(), Fault> {
        match self {
            NativeChange::VmClear(bits) => vm::clear(page, bits).map(drop),
            NativeChange::VmTruncate { heap_blocks } => vm::truncate(page, *heap_blocks),
            NativeChange::FsmTruncate { heap_blocks } => vm::truncate_fsm(page, *heap_blocks),
            NativeChange::ZeroPage => {
                page.bytes.fill(0);
                Ok(())
            }
            NativeChange::ClogSet { status, xids, timestamp: _ } => slru::set_xid_status(page, *status, xids),
            NativeChange::MultiXactOffsets(starts) => slru::set_multixact_starts(page, starts),
            NativeChange::MultiXactMembers { first_offset, members } => {
                slru::set_multixact_members(page, *first_offset, members)
            }
        }
    }
}

/// A count and so many elements. Never more room than the bytes can fill.
fn list<T>(
    reader: &mut Reader<'_>,
    mut element: impl FnMut(&mut Reader<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let count = reader.varint("number of elements")? as usize;
    let mut elements = Vec::with_capacity(count.min(reader.rest().len()));
    for _ in 0..count {
        elements.push(element(reader)?);
    }
    Ok(elements)
}
