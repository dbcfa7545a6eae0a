//! The files of a stopped cluster: WAL segments, pages of relations and SLRUs, positions in pg_control.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use page_redo::page::PageBytes;
use types::{BLCKSZ, Lsn, RELSEG_BLOCKS, RelTag, SlruKind, WalSegmentSize};

pub struct Cluster {
    directory: PathBuf,
}

impl Cluster {
    pub fn new(directory: &Path) -> Cluster {
        Cluster { directory: directory.to_owned() }
    }

    /// Where the last checkpoint's record begins (`ControlFileData.checkPoint`).
    pub fn checkpoint(&self) -> anyhow::Result<Lsn> {
        const CHECKPOINT_AT: usize = 32;
        let bytes = std::fs::read(self.directory.join("global/pg_control"))?;
        ensure!(bytes.len() > CHECKPOINT_AT + 8, "pg_control is too short");
        Ok(Lsn(u64::from_le_bytes(bytes[CHECKPOINT_AT..CHECKPOINT_AT + 8].try_into()?)))
    }

    pub fn wal_segment(&self, number: u64) -> anyhow::Result<Vec<u8>> {
        let path = self.directory.join("pg_wal").join(WalSegmentSize::DEFAULT.file_name(1, number));
        std::fs::read(&path).with_context(|| format!("WAL segment {}", path.display()))
    }

    /// File of the segment that holds this block, as seen from the data directory.
    fn relation_path(&self, directory: &Path, rel: RelTag, block: u32) -> PathBuf {
        let mut name = format!("{}{}", rel.rel, rel.fork.file_suffix());
        if block >= RELSEG_BLOCKS {
            name += &format!(".{}", block / RELSEG_BLOCKS);
        }
        self.directory.join(directory).join(name)
    }

    /// None if the file is missing or ends before the block.
    pub fn relation_page(
        &self,
        directory: &Path,
        rel: RelTag,
        block: u32,
    ) -> anyhow::Result<Option<Box<PageBytes>>> {
        read_page(&self.relation_path(directory, rel, block), block % RELSEG_BLOCKS)
    }

    pub fn slru_page(
        &self,
        kind: SlruKind,
        segment: u32,
        block: u32,
    ) -> anyhow::Result<Option<Box<PageBytes>>> {
        read_page(&self.directory.join(kind.directory()).join(format!("{segment:04X}")), block)
    }

    /// Relations with an init fork are unlogged.
    pub fn is_unlogged(&self, directory: &Path, rel: RelTag) -> bool {
        self.directory.join(directory).join(format!("{}_init", rel.rel)).exists()
    }
}

/// Directory of a database in a tablespace. User tablespaces are links below pg_tblspc.
pub fn database_directory(spc: u32, db: u32) -> PathBuf {
    match spc {
        RelTag::GLOBAL_TABLESPACE => PathBuf::from("global"),
        RelTag::DEFAULT_TABLESPACE => PathBuf::from(format!("base/{db}")),
        // CATALOG_VERSION_NO of PostgreSQL 15
        _ => PathBuf::from(format!("pg_tblspc/{spc}/PG_15_202209061/{db}")),
    }
}

fn read_page(path: &Path, block: u32) -> anyhow::Result<Option<Box<PageBytes>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let mut page = Box::new([0; BLCKSZ]);
    match file.read_exact_at(&mut page[..], u64::from(block) * BLCKSZ as u64) {
        Ok(()) => Ok(Some(page)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}
