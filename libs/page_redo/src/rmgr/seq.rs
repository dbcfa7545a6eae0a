//! Redo of sequences (sequence.c): the page is made anew each time.

use super::Record;
use crate::error::Fault;
use crate::page::{FIRST_OFFSET, Page, Placement};

const XLOG_SEQ_LOG: u8 = 0x00;

/// In the special space of a sequence's page.
const SEQ_MAGIC: u32 = 0x1717;

/// `RelFileNode` before the tuple.
const SIZE_OF_SEQ_REC: usize = 12;

/// `seq_redo`
pub(super) fn redo(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    if record.info() != XLOG_SEQ_LOG {
        return Err(Fault::Malformed("unknown opcode"));
    }
    let mut main = record.main();
    main.skip(SIZE_OF_SEQ_REC, "sequence's relation")?;
    page.init(size_of::<u32>());
    page.write_at(page.special() as usize, &SEQ_MAGIC.to_le_bytes())?;
    page.add_item(main.rest(), Placement::Insert(FIRST_OFFSET))?;
    page.set_lsn(record.lsn);
    Ok(())
}
