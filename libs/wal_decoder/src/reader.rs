//! [`Reader`]: fields taken from the front of a record's bytes, every bound checked.

use bytes::Bytes;
use types::{Fork, Lsn, RelTag};

use crate::error::Malformation;

/// `what` arguments name the struct for the error message.
pub(crate) struct Reader {
    rest: Bytes,
}

impl Reader {
    pub fn new(bytes: Bytes) -> Reader {
        Reader { rest: bytes }
    }

    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub fn rest(self) -> Bytes {
        self.rest
    }

    /// The next bytes, shared and not copied.
    pub fn bytes(&mut self, count: usize, what: &'static str) -> Result<Bytes, Malformation> {
        if count > self.rest.len() {
            return Err(Malformation::Truncated(what));
        }
        Ok(self.rest.split_to(count))
    }

    pub fn skip(&mut self, count: usize, what: &'static str) -> Result<(), Malformation> {
        self.bytes(count, what).map(|_| ())
    }

    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformation> {
        let taken = *self.rest.first_chunk::<N>().ok_or(Malformation::Truncated(what))?;
        bytes::Buf::advance(&mut self.rest, N);
        Ok(taken)
    }

    pub fn u8(&mut self, what: &'static str) -> Result<u8, Malformation> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    /// A C `bool` with the padding that follows it up to `size` bytes.
    pub fn bool_padded(&mut self, size: usize, what: &'static str) -> Result<bool, Malformation> {
        let byte = self.u8(what)?;
        self.skip(size - 1, what)?;
        Ok(byte != 0)
    }

    pub fn u16(&mut self, what: &'static str) -> Result<u16, Malformation> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub fn u32(&mut self, what: &'static str) -> Result<u32, Malformation> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub fn i64(&mut self, what: &'static str) -> Result<i64, Malformation> {
        self.array(what).map(i64::from_le_bytes)
    }

    pub fn lsn(&mut self, what: &'static str) -> Result<Lsn, Malformation> {
        self.array(what).map(|bytes| Lsn(u64::from_le_bytes(bytes)))
    }

    /// A count that PostgreSQL keeps as a signed int, of items of `size` bytes that must all be there.
    pub fn count(&mut self, size: usize, what: &'static str) -> Result<usize, Malformation> {
        let got = self.u32(what)?;
        let fits = |count: &usize| count.checked_mul(size).is_some_and(|bytes| bytes <= self.rest.len());
        usize::try_from(got).ok().filter(fits).ok_or(Malformation::Field { what, got: got.into() })
    }

    /// `count` items read one after the other by `item`.
    pub fn list<T>(
        &mut self,
        count: usize,
        mut item: impl FnMut(&mut Reader) -> Result<T, Malformation>,
    ) -> Result<Vec<T>, Malformation> {
        (0..count).map(|_| item(self)).collect()
    }

    pub fn u32_list(&mut self, count: usize, what: &'static str) -> Result<Vec<u32>, Malformation> {
        self.list(count, |reader| reader.u32(what))
    }

    /// `RelFileNode`: tablespace, database, file number.
    pub fn rel(&mut self, fork: Fork, what: &'static str) -> Result<RelTag, Malformation> {
        Ok(RelTag { spc: self.u32(what)?, db: self.u32(what)?, rel: self.u32(what)?, fork })
    }

    /// A C string up to its zero byte, which is taken too.
    pub fn c_string(&mut self, what: &'static str) -> Result<String, Malformation> {
        let end = self.rest.iter().position(|byte| *byte == 0).ok_or(Malformation::Truncated(what))?;
        let text = self.bytes(end, what)?;
        self.skip(1, what)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}
