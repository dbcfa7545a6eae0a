//! A few changes of each kind, with the page before and after: what tests/samples.rs replays and mutates
//! without a server.
//!
//! ```text
//!  zstd of: samples, each  LSN u64, length u32, change, page before (8192), page after (8192)
//! ```

use std::collections::HashMap;
use std::path::Path;

use page_redo::page::PageBytes;
use types::Lsn;

const PER_KIND: u32 = 2;

#[derive(Default)]
pub struct Samples {
    /// By resource manager, opcode and block id.
    taken: HashMap<(u8, u8, u8), u32>,
    bytes: Vec<u8>,
}

impl Samples {
    pub fn offer(
        &mut self,
        kind: (u8, u8, u8),
        change: &[u8],
        lsn: Lsn,
        before: &PageBytes,
        after: &PageBytes,
    ) {
        let taken = self.taken.entry(kind).or_default();
        if *taken < PER_KIND {
            *taken += 1;
            self.bytes.extend(lsn.0.to_le_bytes());
            self.bytes.extend((change.len() as u32).to_le_bytes());
            self.bytes.extend(change);
            self.bytes.extend(before);
            self.bytes.extend(after);
        }
    }

    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        const BEST: i32 = 19;
        Ok(std::fs::write(path, zstd::bulk::compress(&self.bytes, BEST)?)?)
    }
}
