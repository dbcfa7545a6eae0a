//! [`Reader`]: little-endian fields taken one after the other from a record or a page, with every bound checked.
//!
//! PostgreSQL casts pointers into its records; here a record that is too short is a
//! [`Fault::Malformed`] that says which field was missing.

use crate::error::Fault;

/// Reads from the front of a slice. `what` arguments name the field for the error message.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
    start_len: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes, start_len: bytes.len() }
    }

    pub fn bytes(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Fault::Malformed(what))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Fault> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Fault::Malformed(what))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub fn u8(&mut self, what: &'static str) -> Result<u8, Fault> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub fn u16(&mut self, what: &'static str) -> Result<u16, Fault> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub fn u32(&mut self, what: &'static str) -> Result<u32, Fault> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub fn u64(&mut self, what: &'static str) -> Result<u64, Fault> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// Variable-length number: seven bits a byte, the lowest first, the high bit says that more follows.
    pub fn varint(&mut self, what: &'static str) -> Result<u32, Fault> {
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.u8(what)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| Fault::Malformed(what));
            }
        }
        Err(Fault::Malformed(what))
    }

    /// An array of 16-bit numbers (offset numbers, mostly).
    pub fn u16_array(&mut self, count: usize, what: &'static str) -> Result<Vec<u16>, Fault> {
        let bytes = self.bytes(count.checked_mul(2).ok_or(Fault::Malformed(what))?, what)?;
        Ok(bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect())
    }

    pub fn skip(&mut self, count: usize, what: &'static str) -> Result<(), Fault> {
        self.bytes(count, what).map(|_| ())
    }

    /// Skips to the next multiple of `alignment` from where this reader began.
    pub fn align(&mut self, alignment: usize, what: &'static str) -> Result<(), Fault> {
        self.skip(self.position().next_multiple_of(alignment) - self.position(), what)
    }

    /// Bytes taken so far.
    pub fn position(&self) -> usize {
        self.start_len - self.rest.len()
    }

    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

/// Appends what [`Reader::varint`] reads.
pub fn put_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_and_end() {
        for value in [0, 1, 127, 128, 300, 16383, 16384, u32::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.varint("value"), Ok(value));
            assert!(reader.is_empty());
            bytes.pop();
            assert!(Reader::new(&bytes).varint("value").is_err());
        }
        assert!(Reader::new(&[0xff; 5]).varint("value").is_err());
    }

    #[test]
    fn nothing_is_read_past_the_end() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u16("a"), Ok(0x0201));
        assert_eq!(reader.u32("b"), Err(Fault::Malformed("b")));
        assert_eq!(reader.u8("c"), Ok(3));
        assert_eq!(reader.align(4, "d"), Err(Fault::Malformed("d")));
    }
}
