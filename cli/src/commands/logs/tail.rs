//! Lines of a file: where the last ones begin, and one after the other as they come. A line never needs more than
//! [`LONGEST`] bytes of memory.

use std::io::{ErrorKind, Read, Seek, SeekFrom};

use crate::arguments::Lines;

const BLOCK: usize = 64 * 1024;
/// What is longer comes in pieces.
const LONGEST: usize = 1024 * 1024;

/// Offset of the last lines that are wanted. A last line without its end counts as one.
pub fn start_of_last(file: &mut (impl Read + Seek), lines: Lines) -> anyhow::Result<u64> {
    let end = file.seek(SeekFrom::End(0))?;
    let wanted = match lines {
        Lines::All => return Ok(0),
        Lines::Last(0) => return Ok(end),
        Lines::Last(wanted) => wanted,
    };
    let mut block = vec![0; BLOCK];
    let (mut at, mut found) = (end, 0);
    while at > 0 {
        let length = at.min(BLOCK as u64);
        at -= length;
        let block = &mut block[..length as usize];
        file.seek(SeekFrom::Start(at))?;
        match file.read_exact(block) {
            // It was cut meanwhile.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
            outcome => outcome?,
        }
        for (position, byte) in block.iter().enumerate().rev() {
            let after = at + position as u64 + 1;
            // The end of the last line ends no line before it.
            if *byte != b'\n' || after == end {
                continue;
            }
            found += 1;
            if found == wanted {
                return Ok(after);
            }
        }
    }
    Ok(0)
}

/// Makes whole lines out of pieces.
#[derive(Debug, Default)]
pub struct Splitter {
    /// The beginning of a line whose end has not come yet.
    pending: Vec<u8>,
}

impl Splitter {
    /// Reads to the end of what there is now. Each line goes to `print` with its end.
    pub fn read(
        &mut self,
        source: &mut impl Read,
        print: &mut impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<u64> {
        let mut block = vec![0; BLOCK];
        let mut total = 0;
        loop {
            let count = match source.read(&mut block) {
                Ok(0) => return Ok(total),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            total += count as u64;
            for piece in block[..count].split_inclusive(|byte| *byte == b'\n') {
                self.pending.extend_from_slice(piece);
                if piece.ends_with(b"\n") {
                    print(&self.pending)?;
                    self.pending.clear();
                } else if self.pending.len() >= LONGEST {
                    self.finish(print)?;
                }
            }
        }
    }

    /// Nothing more comes: what is there is a line.
    pub fn finish(&mut self, print: &mut impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
        if !self.pending.is_empty() {
            self.pending.push(b'\n');
            print(&self.pending)?;
            self.pending.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn last(text: &str, lines: Lines) -> String {
        let start = start_of_last(&mut Cursor::new(text), lines).unwrap();
        text[start as usize..].to_owned()
    }

    #[test]
    fn the_last_lines_are_found() {
        for (wanted, expected) in
            [(0, ""), (1, "c\n"), (2, "\nc\n"), (3, "b\n\nc\n"), (4, "a\nb\n\nc\n"), (9, "a\nb\n\nc\n")]
        {
            assert_eq!(last("a\nb\n\nc\n", Lines::Last(wanted)), expected, "{wanted}");
        }
        assert_eq!(last("a\nb", Lines::Last(1)), "b");
        assert_eq!(last("a\nb", Lines::All), "a\nb");
        assert_eq!(last("", Lines::Last(3)), "");
    }

    #[test]
    fn the_last_lines_are_found_across_blocks() {
        let text: String = (0..40_000).map(|number| format!("line {number}\n")).collect();
        assert!(text.len() > 4 * BLOCK);
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        for wanted in [1, 10, 20_000, 39_999] {
            assert_eq!(
                last(&text, Lines::Last(wanted as u64)),
                lines[40_000 - wanted..].concat(),
                "{wanted}"
            );
        }
    }

    #[test]
    fn lines_come_whole_however_they_are_written() {
        let mut splitter = Splitter::default();
        let mut lines: Vec<String> = Vec::new();
        let mut print = |line: &[u8]| {
            lines.push(String::from_utf8_lossy(line).into_owned());
            Ok(())
        };
        for piece in ["on", "e\ntwo\nth", "ree"] {
            splitter.read(&mut Cursor::new(piece), &mut print).unwrap();
        }
        splitter.finish(&mut print).unwrap();
        splitter.finish(&mut print).unwrap();
        assert_eq!(lines, ["one\n", "two\n", "three\n"]);
    }

    #[test]
    fn an_endless_line_does_not_fill_the_memory() {
        let mut longest = 0;
        let mut print = |line: &[u8]| {
            longest = longest.max(line.len());
            Ok(())
        };
        let mut endless = std::io::repeat(b'x').take(5 * LONGEST as u64);
        Splitter::default().read(&mut endless, &mut print).unwrap();
        assert!((LONGEST..LONGEST + BLOCK + 2).contains(&longest), "{longest}");
    }
}
