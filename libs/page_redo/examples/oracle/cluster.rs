//! The files of a stopped cluster: WAL segments, pages of relations and SLRUs, positions in pg_control.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use page_redo::page::PageBytes;
use pg_format::ControlFile;
use types::{BLCKSZ, Fork, PgVersion, RELSEG_BLOCKS, RelTag, SlruKind, WalSegmentSize};

pub struct Cluster {
    directory: PathBuf,
    pub version: PgVersion,
}

impl Cluster {
    pub fn new(directory: &Path) -> anyhow::Result<Cluster> {
        let path = directory.join("PG_VERSION");
        let version = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(Cluster { directory: directory.to_owned(), version: version.trim().parse()? })
    }

    /// Directory of a database in a tablespace. User tablespaces are links below pg_tblspc.
    pub fn database_directory(&self, spc: u32, db: u32) -> PathBuf {
        match spc {
            RelTag::GLOBAL_TABLESPACE => PathBuf::from("global"),
            RelTag::DEFAULT_TABLESPACE => PathBuf::from(format!("base/{db}")),
            // TABLESPACE_VERSION_DIRECTORY
            _ => {
                let (major, catalog) = (self.version, pg_format::version::catalog_version(self.version));
                PathBuf::from(format!("pg_tblspc/{spc}/PG_{major}_{catalog}/{db}"))
            }
        }
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

    /// Number of blocks, over all segments; None if there is no file.
    pub fn relation_size(&self, directory: &Path, rel: RelTag) -> anyhow::Result<Option<u32>> {
        let mut blocks = 0;
        loop {
            let path = self.relation_path(directory, rel, blocks);
            match std::fs::metadata(&path) {
                Ok(file) => blocks += (file.len() / BLCKSZ as u64) as u32,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Ok((blocks > 0).then_some(blocks));
                }
                Err(error) => return Err(error).with_context(|| path.display().to_string()),
            }
            if blocks % RELSEG_BLOCKS != 0 || blocks == 0 {
                return Ok(Some(blocks));
            }
        }
    }

    /// A database has its map in the directory of its own tablespace only.
    pub fn relation_map(&self, directory: &Path) -> anyhow::Result<Option<Vec<u8>>> {
        let path = self.directory.join(directory).join("pg_filenode.map");
        match std::fs::read(&path) {
            Ok(map) => Ok(Some(map)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    pub fn control_file(&self) -> anyhow::Result<ControlFile> {
        Ok(ControlFile::decode(&std::fs::read(self.directory.join("global/pg_control"))?)?)
    }

    /// Tablespace and database (0 for what all databases share) of each directory with relations.
    pub fn databases(&self) -> anyhow::Result<Vec<(u32, u32)>> {
        let mut databases = vec![(RelTag::GLOBAL_TABLESPACE, 0)];
        for db in numbers(&self.directory.join("base"))? {
            databases.push((RelTag::DEFAULT_TABLESPACE, db));
        }
        for spc in numbers(&self.directory.join("pg_tblspc"))? {
            let directory = self.database_directory(spc, 0);
            let parent = directory.parent().expect("a directory of databases");
            databases.extend(numbers(&self.directory.join(parent))?.into_iter().map(|db| (spc, db)));
        }
        Ok(databases)
    }

    /// The forks of a database that WAL describes: not free space maps, nor what is unlogged, but for its init fork.
    pub fn logged_forks(&self, (spc, db): (u32, u32)) -> anyhow::Result<Vec<RelTag>> {
        let directory = self.database_directory(spc, db);
        let mut forks = Vec::new();
        for name in names(&self.directory.join(&directory))? {
            let digits = name.trim_end_matches(|c: char| !c.is_ascii_digit());
            let fork = Fork::ALL.into_iter().find(|fork| fork.file_suffix() == &name[digits.len()..]);
            let (Ok(rel), Some(fork)) = (digits.parse(), fork) else { continue };
            let rel = RelTag { spc, db, rel, fork };
            if fork == Fork::Init || fork != Fork::Fsm && !self.is_unlogged(&directory, rel) {
                forks.push(rel);
            }
        }
        Ok(forks)
    }

    /// User tablespaces.
    pub fn tablespaces(&self) -> anyhow::Result<BTreeSet<u32>> {
        Ok(numbers(&self.directory.join("pg_tblspc"))?.into_iter().collect())
    }

    /// Segments of an SLRU.
    pub fn slru_segments(&self, kind: SlruKind) -> anyhow::Result<Vec<u32>> {
        let names = names(&self.directory.join(kind.directory()))?;
        names.iter().map(|name| Ok(u32::from_str_radix(name, 16)?)).collect()
    }

    /// Relations with an init fork are unlogged.
    pub fn is_unlogged(&self, directory: &Path, rel: RelTag) -> bool {
        self.directory.join(directory).join(format!("{}_init", rel.rel)).exists()
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

fn names(directory: &Path) -> anyhow::Result<Vec<String>> {
    let entries = std::fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Names that are numbers, of directories.
fn numbers(directory: &Path) -> anyhow::Result<Vec<u32>> {
    Ok(names(directory)?.iter().filter_map(|name| name.parse().ok()).collect())
}
