//! Reading numbers and strings off bytes that came from outside.

use bytes::Bytes;

/// Bytes that are not the message they should be.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    #[error("message {message} ends before its {field}")]
    Truncated { message: &'static str, field: &'static str },
    #[error("message {message} has {extra} bytes too many")]
    Trailing { message: &'static str, extra: usize },
    #[error("message {message}: bad {field}: {reason}")]
    Invalid { message: &'static str, field: &'static str, reason: String },
    #[error("unknown message tag 0x{0:02x}")]
    UnknownTag(u8),
}

/// Takes fields off the front of a message, big-endian.
pub(crate) struct Cursor {
    pub message: &'static str,
    rest: Bytes,
}

impl Cursor {
    pub fn new(message: &'static str, rest: Bytes) -> Self {
        Self { message, rest }
    }

    pub fn take(&mut self, count: usize, field: &'static str) -> Result<Bytes, DecodeError> {
        if self.rest.len() < count {
            return Err(DecodeError::Truncated { message: self.message, field });
        }
        Ok(self.rest.split_to(count))
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(&self.take(N, field)?);
        Ok(array)
    }

    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        Ok(u8::from_be_bytes(self.array(field)?))
    }

    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array(field)?))
    }

    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array(field)?))
    }

    pub fn i64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.array(field)?))
    }

    pub fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.invalid(field, format!("{other} is neither 0 nor 1"))),
        }
    }

    pub fn id(&mut self, field: &'static str) -> Result<[u8; 16], DecodeError> {
        self.array(field)
    }

    /// A count of things of at least `size` bytes each: never more than the message can hold.
    pub fn count(&mut self, size: usize, field: &'static str) -> Result<usize, DecodeError> {
        let count = self.u32(field)? as usize;
        if count > self.rest.len() / size {
            return Err(DecodeError::Truncated { message: self.message, field });
        }
        Ok(count)
    }

    /// UTF-8 text that ends in a zero byte.
    pub fn text(&mut self, field: &'static str) -> Result<String, DecodeError> {
        let end = self.rest.iter().position(|byte| *byte == 0);
        let end = end.ok_or(DecodeError::Truncated { message: self.message, field })?;
        let text = self.rest.split_to(end);
        let _ = self.rest.split_to(1);
        String::from_utf8(text.to_vec()).map_err(|error| self.invalid(field, error.to_string()))
    }

    /// All that is left.
    pub fn remainder(self) -> Bytes {
        self.rest
    }

    pub fn finish(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            extra => Err(DecodeError::Trailing { message: self.message, extra }),
        }
    }

    pub fn invalid(&self, field: &'static str, reason: String) -> DecodeError {
        DecodeError::Invalid { message: self.message, field, reason }
    }
}
