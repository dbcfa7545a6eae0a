//! Two data directories that stand at the same LSN, page by page under PostgreSQL's masks.
//!
//! Compared are the main, visibility map and init forks of all relations, the pages of pg_xact and
//! pg_multixact, the relation maps and the files of prepared transactions. Not compared is
//! - the free space map: it is not in WAL, every server guesses its own from the records that it replays;
//! - all of an unlogged relation but its init fork: nothing else of it is in WAL. An export holds the empty
//!   relation, ready to be used; a standby has no file until it is promoted.
//!
//! An export and a standby replayed the same records and nobody read from them, so the places where a running primary is
//! ahead of its own WAL (values that a sequence keeps in reserve, pages remembered by an SP-GiST metapage)
//! are compared as well. With a compute that was stopped they are not, nor are the holes of its files, which it has
//! not cached.

mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::fs::File;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use page_redo::page::{HEADER_SIZE, PageBytes};
use types::{BLCKSZ, Fork, Lsn};

use self::page::{Place, bytes_that_differ, page_lsn};

const SLRUS: [&str; 3] = ["pg_xact", "pg_multixact/offsets", "pg_multixact/members"];
const PREPARED: &str = "pg_twophase";
const RELATION_MAP: &str = "pg_filenode.map";
const FIRST_NORMAL_OID: u32 = 16384;
/// Differences that are told in full.
const TOLD: usize = 20;

/// What is known of the two sides.
#[derive(Clone, Copy)]
pub struct Sides {
    /// Where the timeline begins: pages with an older LSN are as initdb left them.
    pub start: Lsn,
    /// A standby writes the files of those transactions that were prepared before its last checkpoint, and reads the
    /// others from WAL again. With this the others are missed on its side.
    pub all_prepared: bool,
    pub theirs: Theirs,
}

/// Whose directory is compared with an export.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Theirs {
    Standby,
    /// It was stopped in order: what it cached is in its files, all else is a hole in them.
    Compute,
}

impl Display for Theirs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Theirs::Standby => "the standby",
            Theirs::Compute => "the compute",
        })
    }
}

/// What was compared and found different.
#[derive(Default)]
pub struct Comparison {
    /// Pages by what is on them, and how many of those WAL changed after the timeline began.
    pub pages: BTreeMap<String, (usize, usize)>,
    /// Pages that a compute did not have.
    pub uncached: usize,
    pub maps: usize,
    pub prepared: usize,
    pub differences: Vec<String>,
}

impl Comparison {
    pub fn changed(&self, kind: &str) -> usize {
        self.pages.get(kind).map_or(0, |(_, changed)| *changed)
    }

    pub fn changed_in_all(&self) -> usize {
        self.pages.values().map(|(_, changed)| changed).sum()
    }

    fn count(&mut self, kind: &str, changed: bool) {
        let (all, of_those) = self.pages.entry(kind.to_owned()).or_default();
        *all += 1;
        *of_those += usize::from(changed);
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pages: usize = self.pages.values().map(|(all, _)| all).sum();
        write!(f, "{pages} pages compared, {} changed since the start (", self.changed_in_all())?;
        for (at, (kind, (all, changed))) in self.pages.iter().enumerate() {
            write!(f, "{}{kind} {changed} of {all}", if at == 0 { "" } else { ", " })?;
        }
        let (maps, prepared) = (self.maps, self.prepared);
        if self.uncached > 0 {
            write!(f, "; {} not cached", self.uncached)?;
        }
        write!(f, "), {maps} relation maps, {prepared} prepared transactions; ")?;
        write!(f, "{} differences", self.differences.len())?;
        for difference in self.differences.iter().take(TOLD) {
            write!(f, "\n  {difference}")?;
        }
        Ok(())
    }
}

/// `ours` is an export.
pub fn compare(ours: &Path, theirs: &Path, sides: Sides) -> Comparison {
    let mut comparison = Comparison::default();
    for directory in database_directories(ours).union(&database_directories(theirs)) {
        relations(&mut comparison, ours, theirs, directory, sides);
    }
    for slru in SLRUS {
        for name in file_names(&ours.join(slru)).union(&file_names(&theirs.join(slru))) {
            slru_pages(&mut comparison, ours, theirs, slru, name);
        }
    }
    let (our_prepared, their_prepared) =
        (file_names(&ours.join(PREPARED)), file_names(&theirs.join(PREPARED)));
    for name in our_prepared.union(&their_prepared) {
        if !sides.all_prepared && !their_prepared.contains(name) {
            continue;
        }
        comparison.prepared += 1;
        whole_file(&mut comparison, ours, theirs, &format!("{PREPARED}/{name}"));
    }
    comparison
}

fn whole_file(comparison: &mut Comparison, ours: &Path, theirs: &Path, path: &str) {
    let read = |side: &Path| std::fs::read(side.join(path)).ok();
    if read(ours) != read(theirs) {
        comparison.differences.push(format!("{path} differs"));
    }
}

/// Those of tablespaces as well: `pg_tblspc/16400/PG_15_202209061/5`.
fn database_directories(data_directory: &Path) -> BTreeSet<String> {
    let below = |directory: String| {
        let names = file_names(&data_directory.join(&directory));
        names.into_iter().map(move |name| format!("{directory}/{name}"))
    };
    let tablespaces = below("pg_tblspc".to_owned()).flat_map(below).flat_map(below);
    below("base".to_owned()).chain(tablespaces).chain(["global".to_owned()]).collect()
}

fn file_names(directory: &Path) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return BTreeSet::new() };
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

/// A file of a relation: `16384`, `16384_vm`, `16384.1`.
struct RelationFile {
    number: u32,
    fork: Fork,
    segment: u32,
}

impl RelationFile {
    /// Whether initdb made it.
    fn is_of_catalog(&self) -> bool {
        self.number < FIRST_NORMAL_OID
    }

    fn parse(name: &str) -> Option<RelationFile> {
        let (front, segment) = match name.split_once('.') {
            Some((front, segment)) => (front, segment.parse().ok()?),
            None => (name, 0),
        };
        let digits = front.trim_end_matches(|c: char| !c.is_ascii_digit());
        let fork = Fork::ALL.into_iter().find(|fork| fork.file_suffix() == &front[digits.len()..])?;
        Some(RelationFile { number: digits.parse().ok()?, fork, segment })
    }
}

fn relations(comparison: &mut Comparison, ours: &Path, theirs: &Path, directory: &str, sides: Sides) {
    let (our_files, their_files) = (file_names(&ours.join(directory)), file_names(&theirs.join(directory)));
    for name in our_files.union(&their_files) {
        if name == RELATION_MAP {
            comparison.maps += 1;
            whole_file(comparison, ours, theirs, &format!("{directory}/{name}"));
            continue;
        }
        let Some(file) = RelationFile::parse(name) else { continue };
        let init_fork = format!("{}{}", file.number, Fork::Init.file_suffix());
        let unlogged = our_files.contains(&init_fork) || their_files.contains(&init_fork);
        if file.fork == Fork::Fsm || unlogged && file.fork != Fork::Init {
            continue;
        }
        let path = format!("{directory}/{name}");
        let (our_pages, mut their_pages) = (pages(&ours.join(&path)), pages(&theirs.join(&path)));
        if sides.theirs == Theirs::Compute {
            their_pages =
                their_pages.and_then(|pages| without_unlogged(pages, our_pages.as_deref(), file.fork));
        }
        let (our_pages, their_pages) = match (our_pages, their_pages) {
            (Some(ours), Some(theirs)) => (ours, theirs),
            (None, None) => continue,
            (Some(_), None) => {
                comparison.differences.push(format!("{path} is only in the export"));
                continue;
            }
            (None, Some(_)) => {
                comparison.differences.push(format!("{path} is only in {}", sides.theirs));
                continue;
            }
        };
        if our_pages.len() != their_pages.len() {
            let (a, b) = (our_pages.len(), their_pages.len());
            let lengths = format!("{path} has {a} blocks in the export, {b} in {}", sides.theirs);
            comparison.differences.push(lengths);
        }
        let is_cached = match sides.theirs {
            Theirs::Standby => vec![true; their_pages.len()],
            Theirs::Compute => data_blocks(&theirs.join(&path), their_pages.len()),
        };
        let first = file.segment * types::RELSEG_BLOCKS;
        for (at, (a, b)) in our_pages.iter().zip(&their_pages).enumerate() {
            // ALTER DATABASE SET TABLESPACE copies holes as pages of zeros.
            let may_be_copied = sides.theirs == Theirs::Compute && directory.starts_with("pg_tblspc");
            if !is_cached[at] || may_be_copied && b.iter().all(|byte| *byte == 0) {
                comparison.uncached += 1;
                continue;
            }
            let place = Place { fork: file.fork, block: first + at as u32, of_catalog: file.is_of_catalog() };
            comparison.count(page::kind(b, file.fork), page_lsn(b) > sides.start);
            let text = page::difference(a, b, place, sides.theirs);
            comparison.differences.extend(text.map(|text| format!("{path} {text}")));
        }
    }
}

/// A relation may have got pages that nobody has used yet, of which there is nothing in WAL; and a visibility map gets its
/// pages when somebody looks, while WAL has them from their first bit on. None is left if the whole map is such.
fn without_unlogged(
    mut theirs: Vec<PageBytes>,
    ours: Option<&[PageBytes]>,
    fork: Fork,
) -> Option<Vec<PageBytes>> {
    let from = if fork == Fork::Vm { HEADER_SIZE } else { 0 };
    let is_empty = |page: &PageBytes| page[from..].iter().all(|byte| *byte == 0);
    while theirs.len() > ours.map_or(0, <[PageBytes]>::len) && theirs.last().is_some_and(is_empty) {
        theirs.pop();
    }
    (ours.is_some() || !theirs.is_empty() || fork != Fork::Vm).then_some(theirs)
}

/// A page that a file does not reach is one of zeros.
fn slru_pages(comparison: &mut Comparison, ours: &Path, theirs: &Path, slru: &str, name: &str) {
    let zeros = [0; BLCKSZ];
    let read = |side: &Path| pages(&side.join(slru).join(name)).unwrap_or_default();
    let (ours, theirs) = (read(ours), read(theirs));
    for block in 0..ours.len().max(theirs.len()) {
        let page = |pages: &[PageBytes]| *pages.get(block).unwrap_or(&zeros);
        let (a, b) = (page(&ours), page(&theirs));
        comparison.count(slru, b != zeros);
        if let Some(text) = bytes_that_differ(&a, &b) {
            comparison.differences.push(format!("{slru}/{name} block {block}: {text}"));
        }
    }
}

/// Which of the first `count` blocks of a sparse file have data. It may be longer: pages that nobody has used do not count.
fn data_blocks(path: &Path, count: usize) -> Vec<bool> {
    let mut has_data = vec![false; count];
    let file = File::open(path).expect("a relation's file");
    let mut at = 0;
    loop {
        let data = match lseek(&file, at, Whence::SeekData) {
            Ok(data) => data,
            // None up to the end.
            Err(Errno::ENXIO) => return has_data,
            Err(error) => panic!("{}: {error}", path.display()),
        };
        at = lseek(&file, data, Whence::SeekHole).expect("the end of data");
        let (first, end) = (data as usize / BLCKSZ, (at as usize).div_ceil(BLCKSZ));
        has_data[first.min(count)..end.min(count)].fill(true);
    }
}

/// None if there is no such file.
fn pages(file: &Path) -> Option<Vec<PageBytes>> {
    let bytes = std::fs::read(file).ok()?;
    let (pages, rest) = bytes.as_chunks::<BLCKSZ>();
    assert!(rest.is_empty(), "{} ends within a page", file.display());
    Some(pages.to_vec())
}

#[test]
fn a_file_may_be_longer_than_what_counts_of_it() {
    use std::os::unix::fs::FileExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("16384");
    let file = File::create(&path).unwrap();
    // A hole of eight blocks, then three of zeros that were written.
    file.write_all_at(&[0; 3 * BLCKSZ], 8 * BLCKSZ as u64).unwrap();
    for (count, data) in [(4, 0), (9, 1), (11, 3)] {
        let blocks = data_blocks(&path, count);
        assert_eq!((blocks.len(), blocks.iter().filter(|has| **has).count()), (count, data));
    }
}

#[test]
fn a_planted_difference_is_found() {
    let sides = Sides { start: Lsn(0x100_0000), all_prepared: true, theirs: Theirs::Standby };
    let data_directory = |changed: bool| {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("base/5");
        std::fs::create_dir_all(&database).unwrap();
        std::fs::create_dir_all(directory.path().join("pg_xact")).unwrap();
        // An empty heap page, but for one byte behind its `pd_upper`.
        let mut page = [0; BLCKSZ];
        page[12..20].copy_from_slice(&[24, 0, 0xf0, 0x1f, 0, 0x20, 4, 0x20]);
        // Free space is no difference.
        page[1000] = u8::from(changed);
        std::fs::write(database.join("16384"), page).unwrap();
        page[8191] = u8::from(changed);
        std::fs::write(database.join("16385"), page).unwrap();
        std::fs::write(database.join("16385_fsm"), page).unwrap();
        std::fs::write(directory.path().join("pg_xact/0000"), page).unwrap();
        directory
    };
    let (one, other) = (data_directory(false), data_directory(true));
    let same = compare(one.path(), data_directory(false).path(), sides);
    assert_eq!((same.differences.len(), same.pages["Heap"]), (0, (2, 0)));
    let different = compare(one.path(), other.path(), sides).differences;
    assert_eq!(different.len(), 2, "{different:?}");
    assert!(different[0].starts_with("base/5/16385 block 0"), "{different:?}");
    assert!(different[1].starts_with("pg_xact/0000 block 0"), "{different:?}");
    std::fs::remove_file(other.path().join("base/5/16384")).unwrap();
    assert_eq!(compare(one.path(), other.path(), sides).differences.len(), 3);
}

#[test]
fn a_hole_of_a_compute_is_not_compared() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (directory.path().join("ours"), directory.path().join("theirs"));
    let page = |filler: u8| {
        let mut page = [filler; BLCKSZ];
        page[12..20].copy_from_slice(&[24, 0, 0xf0, 0x1f, 0, 0x20, 4, 0x20]);
        page
    };
    for side in [&ours, &theirs] {
        std::fs::create_dir_all(side.join("base/5")).unwrap();
    }
    std::fs::write(ours.join("base/5/16384"), [page(1), page(2), page(3)].concat()).unwrap();
    let sparse = File::create(theirs.join("base/5/16384")).unwrap();
    sparse.set_len(3 * BLCKSZ as u64).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, &page(2), BLCKSZ as u64).unwrap();
    let sides = Sides { start: Lsn(1), all_prepared: true, theirs: Theirs::Compute };
    let same = compare(&ours, &theirs, sides);
    assert_eq!((same.uncached, same.pages["Heap"].0, same.differences.len()), (2, 1, 0), "{same}");
    std::os::unix::fs::FileExt::write_all_at(&sparse, &page(4), BLCKSZ as u64).unwrap();
    assert_eq!(compare(&ours, &theirs, sides).differences.len(), 1);
}
