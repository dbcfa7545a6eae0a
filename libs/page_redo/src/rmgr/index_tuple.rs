//! Index tuples in the data of records, as GIN, GiST and hash write them.

use crate::bytes_reader::Reader;
use crate::error::Fault;
use crate::page::{Page, Placement};

/// Length of an index tuple in its `t_info` (`INDEX_SIZE_MASK`).
const SIZE_MASK: u16 = 0x1fff;
const HEADER_SIZE: usize = 8;

/// Size of the tuple that comes next, as its own header says.
pub(super) fn tuple_size(data: &Reader<'_>) -> Result<usize, Fault> {
    let mut ahead = *data;
    ahead.skip(6, "index tuple")?;
    let size = usize::from(ahead.u16("index tuple")? & SIZE_MASK);
    if size < HEADER_SIZE { Err(Fault::Malformed("size of an index tuple")) } else { Ok(size) }
}

pub(super) fn read_tuple<'a>(data: &mut Reader<'a>) -> Result<&'a [u8], Fault> {
    data.bytes(tuple_size(data)?, "index tuple")
}

/// Puts all tuples of `data` behind the last one on the page.
pub(super) fn append_tuples(page: &mut Page<'_>, mut data: Reader<'_>) -> Result<(), Fault> {
    while !data.is_empty() {
        let offset = page.max_offset() + 1;
        page.add_item(read_tuple(&mut data)?, Placement::Insert(offset))?;
    }
    Ok(())
}
