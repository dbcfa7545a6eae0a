//! [`Window`]: the recent WAL that the proposer keeps in memory for acceptors that do not have it yet.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use types::Lsn;

/// WAL that one append carries at most.
const MAX_APPEND_BYTES: usize = 128 << 10;

/// Contiguous WAL in the pieces in which it came.
#[derive(Clone, Debug)]
pub struct Window {
    pieces: VecDeque<(Lsn, Bytes)>,
    start: Lsn,
    end: Lsn,
}

impl Window {
    pub fn empty_at(lsn: Lsn) -> Self {
        Self { pieces: VecDeque::new(), start: lsn, end: lsn }
    }

    pub fn start(&self) -> Lsn {
        self.start
    }

    pub fn end(&self) -> Lsn {
        self.end
    }

    /// `wal` follows what is here.
    pub fn push(&mut self, wal: Bytes) {
        if !wal.is_empty() {
            let begin = self.end;
            self.end += wal.len() as u64;
            self.pieces.push_back((begin, wal));
        }
    }

    /// As much as fits into one append, from `begin` on, which must lie within the window. One piece is
    /// passed on without copying; small ones are put together.
    pub fn read(&self, begin: Lsn) -> Bytes {
        debug_assert!(self.start <= begin && begin < self.end);
        let first = self.pieces.partition_point(|(lsn, _)| *lsn <= begin).saturating_sub(1);
        let (lsn, piece) = &self.pieces[first];
        let rest = piece.slice((begin - *lsn) as usize..);
        if rest.len() >= MAX_APPEND_BYTES || first + 1 == self.pieces.len() {
            return rest.slice(..rest.len().min(MAX_APPEND_BYTES));
        }
        let mut joined = BytesMut::from(rest.as_ref());
        for (_, piece) in self.pieces.iter().skip(first + 1) {
            let room = MAX_APPEND_BYTES - joined.len();
            joined.extend_from_slice(&piece[..piece.len().min(room)]);
            if joined.len() == MAX_APPEND_BYTES {
                break;
            }
        }
        joined.freeze()
    }

    /// Drops whole pieces that end at or before `lsn`.
    pub fn trim(&mut self, lsn: Lsn) {
        while let Some((begin, piece)) = self.pieces.front() {
            let end = *begin + piece.len() as u64;
            if end > lsn {
                break;
            }
            self.start = end;
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_pushed_from_anywhere() {
        let wal: Vec<u8> = (0..300_000u32).map(|number| (number % 251) as u8).collect();
        let mut window = Window::empty_at(Lsn(1000));
        let mut rest = &wal[..];
        for size in [1, 100, 7000, 200_000, 1, 92_898] {
            window.push(Bytes::copy_from_slice(&rest[..size]));
            rest = &rest[size..];
        }
        assert!(rest.is_empty());
        for from in [0, 1, 50, 101, 7101, 207_101, 299_999] {
            let read = window.read(Lsn(1000 + from as u64));
            assert!(!read.is_empty() && read.len() <= MAX_APPEND_BYTES);
            assert_eq!(read, wal[from..from + read.len()]);
        }
        window.trim(Lsn(1000 + 7100));
        assert_eq!(window.start(), Lsn(1000 + 101));
        assert_eq!(window.read(Lsn(1101))[..], wal[101..101 + MAX_APPEND_BYTES]);
    }
}
