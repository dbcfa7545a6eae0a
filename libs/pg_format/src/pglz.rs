//! PostgreSQL's own compression of page images and TOAST values, the reading half (`pg_lzcompress.c`).
//!
//! ```text
//!  control byte, then up to eight items, lowest bit first:
//!    bit 0   a literal byte
//!    bit 1   a copy: byte 0 = offset bits 8..12 in the high nibble, length - 3 in the low one
//!                    byte 1 = offset bits 0..8;  byte 2, only when the nibble is 15: more length
//! ```

/// Fills `output` exactly from exactly `input`. None if the data says otherwise.
pub fn decompress(input: &[u8], output: &mut [u8]) -> Option<()> {
    let mut input = input.iter().copied();
    let mut filled = 0;
    while filled < output.len() {
        let Some(control) = input.next() else { break };
        for bit in 0..8 {
            if filled == output.len() || input.len() == 0 {
                break;
            }
            if control >> bit & 1 == 0 {
                output[filled] = input.next()?;
                filled += 1;
            } else {
                filled = copy(&mut input, output, filled)?;
            }
        }
    }
    (filled == output.len() && input.len() == 0).then_some(())
}

/// One copy; returns how much of `output` is filled after it.
fn copy(input: &mut impl Iterator<Item = u8>, output: &mut [u8], filled: usize) -> Option<usize> {
    let (first, second) = (input.next()?, input.next()?);
    let offset = (usize::from(first) & 0xf0) << 4 | usize::from(second);
    let mut length = (usize::from(first) & 0x0f) + 3;
    if length == 18 {
        length += usize::from(input.next()?);
    }
    if offset == 0 || offset > filled {
        return None;
    }
    let end = (filled + length).min(output.len());
    // One byte after the other: a copy may reach into what it has just written.
    for at in filled..end {
        output[at] = output[at - offset];
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_overlapping_copies() {
        // "ab", then 6 bytes from 2 back, then "c".
        let input = [0b0000_0100, b'a', b'b', 0x03, 0x02, b'c'];
        let mut output = [0; 9];
        assert_eq!(decompress(&input, &mut output), Some(()));
        assert_eq!(
            &output,
            b"abababab\
c"
        );
    }

    #[test]
    fn refuses_what_does_not_fit() {
        assert_eq!(decompress(&[0b1, 0x00, 0x01], &mut [0; 3]), None, "offset before the start");
        assert_eq!(decompress(&[0b10, b'a', 0x00, 0x00], &mut [0; 4]), None, "offset zero");
        assert_eq!(decompress(&[0b10, b'a', 0x0f, 0x01], &mut [0; 40]), None, "length byte is missing");
        assert_eq!(decompress(&[0, b'a'], &mut [0; 2]), None, "too short");
        assert_eq!(decompress(&[0, b'a', b'b'], &mut [0; 1]), None, "too long");
        assert_eq!(decompress(&[], &mut []), Some(()));
    }
}
