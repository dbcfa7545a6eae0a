//! [`BlockImage`]: a full page in a record, possibly without its hole, possibly compressed.

use bytes::Bytes;
use types::BLCKSZ;

use crate::error::Malformation;

/// `bimg_info`: zeros between the page's two ends were left out.
pub const HAS_HOLE: u8 = 0x01;
/// `bimg_info`: redo puts the image in place of the page.
pub const APPLY: u8 = 0x02;
/// `bimg_info`: how the image is compressed, at most one of the three.
pub const COMPRESS_PGLZ: u8 = 0x04;
pub const COMPRESS_LZ4: u8 = 0x08;
pub const COMPRESS_ZSTD: u8 = 0x10;
const COMPRESS_MASK: u8 = COMPRESS_PGLZ | COMPRESS_LZ4 | COMPRESS_ZSTD;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockImage {
    /// The image replaces the page. Otherwise it is only there to be compared with.
    pub apply: bool,
    pub hole_offset: u16,
    pub hole_length: u16,
    pub bimg_info: u8,
    /// The page without its hole, compressed as `bimg_info` says.
    pub data: Bytes,
}

impl BlockImage {
    pub fn is_compressed(&self) -> bool {
        self.bimg_info & COMPRESS_MASK != 0
    }

    /// The whole page, as it was when the record was made.
    pub fn restore(&self) -> Result<Box<[u8; BLCKSZ]>, Malformation> {
        let mut page = Box::new([0; BLCKSZ]);
        let hole_start = usize::from(self.hole_offset);
        let hole_end = hole_start + usize::from(self.hole_length);
        if hole_end > BLCKSZ {
            return Err(Malformation::Contradiction("hole of a page image reaches beyond the page"));
        }
        let length = BLCKSZ - usize::from(self.hole_length);
        if self.is_compressed() {
            // Decompress to the front, then move what belongs behind the hole.
            self.decompress(&mut page[..length])?;
            page.copy_within(hole_start..length, hole_end);
            page[hole_start..hole_end].fill(0);
        } else {
            if self.data.len() != length {
                return Err(Malformation::Contradiction("page image and its hole do not make up a page"));
            }
            page[..hole_start].copy_from_slice(&self.data[..hole_start]);
            page[hole_end..].copy_from_slice(&self.data[hole_start..]);
        }
        Ok(page)
    }

    /// Fills `output` exactly.
    fn decompress(&self, output: &mut [u8]) -> Result<(), Malformation> {
        let expected = output.len();
        let written = match self.bimg_info & COMPRESS_MASK {
            COMPRESS_PGLZ => pg_format::pglz::decompress(&self.data, output).map(|()| expected),
            COMPRESS_LZ4 => lz4_flex::block::decompress_into(&self.data, output).ok(),
            COMPRESS_ZSTD => zstd::bulk::decompress_to_buffer(&self.data, output).ok(),
            _ => return Err(Malformation::Contradiction("page image is compressed in two ways at once")),
        };
        if written == Some(expected) {
            Ok(())
        } else {
            Err(Malformation::Contradiction("page image cannot be decompressed to its full length"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(bimg_info: u8, hole_offset: u16, hole_length: u16, data: Vec<u8>) -> BlockImage {
        BlockImage { apply: true, hole_offset, hole_length, bimg_info, data: data.into() }
    }

    #[test]
    fn holes_are_filled_with_zeros() {
        let parts: Vec<u8> = (0..BLCKSZ - 100).map(|at| at as u8 | 1).collect();
        let mut page = [0; BLCKSZ];
        page[..50].copy_from_slice(&parts[..50]);
        page[150..].copy_from_slice(&parts[50..]);
        let lz4 = lz4_flex::block::compress(&parts);
        let zstd = zstd::bulk::compress(&parts, 1).unwrap();
        assert_eq!(*image(HAS_HOLE, 50, 100, parts).restore().unwrap(), page);
        assert_eq!(*image(HAS_HOLE | COMPRESS_LZ4, 50, 100, lz4).restore().unwrap(), page);
        assert_eq!(*image(HAS_HOLE | COMPRESS_ZSTD, 50, 100, zstd).restore().unwrap(), page);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(image(0, 0, 0, vec![0; 100]).restore().is_err());
        assert!(image(HAS_HOLE, 8000, 1000, vec![0; BLCKSZ - 1000]).restore().is_err());
        for method in [COMPRESS_PGLZ, COMPRESS_LZ4, COMPRESS_ZSTD, COMPRESS_MASK] {
            assert!(image(method, 0, 0, vec![0xa5; 100]).restore().is_err());
        }
    }
}
