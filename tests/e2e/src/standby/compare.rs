//! Two data directories that stand at the same LSN, page by page under PostgreSQL's masks.
//!
//! Compared are the main, visibility map and init forks of all relations, the pages of pg_xact and
//! pg_multixact, the relation maps and the files of prepared transactions. Not compared is
//! - the free space map: it is not in WAL, every server guesses its own from the records that it replays;
//! - all of an unlogged relation but its init fork: nothing else of it is in WAL. An export holds the empty
//!   relation, ready to be used; a standby has no file until it is promoted.
//!
//! Both sides replayed the same records and nobody read from them, so the places where a running primary is
//! ahead of its own WAL (values that a sequence keeps in reserve, pages remembered by an SP-GiST metapage)
//! are compared as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::path::Path;

use page_redo::mask::{mask, rmgr_of_page};
use page_redo::page::{PD_ALL_VISIBLE, PageBytes};
use page_redo::rmgr_name;
use pg_format::rmgr::HEAP;
use types::{BLCKSZ, Fork, Lsn};

const SLRUS: [&str; 3] = ["pg_xact", "pg_multixact/offsets", "pg_multixact/members"];
const PREPARED: &str = "pg_twophase";
const RELATION_MAP: &str = "pg_filenode.map";
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
}

/// What was compared and found different.
#[derive(Default)]
pub struct Comparison {
    /// Pages by what is on them, and how many of those WAL changed after the timeline began.
    pub pages: BTreeMap<String, (usize, usize)>,
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
        write!(f, "), {maps} relation maps, {prepared} prepared transactions; ")?;
        write!(f, "{} differences", self.differences.len())?;
        for difference in self.differences.iter().take(TOLD) {
            write!(f, "\n  {difference}")?;
        }
        Ok(())
    }
}

/// `ours` is an export, `theirs` a standby.
pub fn compare(ours: &Path, theirs: &Path, sides: Sides) -> Comparison {
    let mut comparison = Comparison::default();
    for directory in database_directories(ours).union(&database_directories(theirs)) {
        relations(&mut comparison, ours, theirs, directory, sides.start);
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

fn relations(comparison: &mut Comparison, ours: &Path, theirs: &Path, directory: &str, start: Lsn) {
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
        let (Some(our_pages), Some(their_pages)) = (pages(&ours.join(&path)), pages(&theirs.join(&path)))
        else {
            let owner = if our_files.contains(name) { "the export" } else { "the standby" };
            comparison.differences.push(format!("{path} is only in {owner}"));
            continue;
        };
        if our_pages.len() != their_pages.len() {
            let (a, b) = (our_pages.len(), their_pages.len());
            comparison.differences.push(format!("{path} has {a} blocks in the export, {b} in the standby"));
        }
        let first = file.segment * types::RELSEG_BLOCKS;
        for (block, (a, b)) in (first..).zip(our_pages.iter().zip(&their_pages)) {
            let kind = kind(b, file.fork);
            comparison.count(kind, page_lsn(b) > start);
            let text = difference(a, b, file.fork, block).or_else(|| other_lsn(a, b).map(str::to_owned));
            if let Some(text) = text {
                let lsns = format!("LSN {} in the export, {} in the standby", page_lsn(a), page_lsn(b));
                comparison.differences.push(format!("{path} block {block} ({kind}, {lsns}): {text}"));
            }
        }
    }
}

fn kind(page: &PageBytes, fork: Fork) -> &'static str {
    match fork {
        Fork::Main if page.iter().all(|byte| *byte == 0) => "zeros",
        Fork::Main => rmgr_name(rmgr_of_page(page)),
        Fork::Fsm => "FSM",
        Fork::Vm => "VM",
        Fork::Init => "init",
    }
}

fn page_lsn(page: &PageBytes) -> Lsn {
    let half = |at: usize| u32::from_le_bytes(*page[at..].first_chunk().expect("a page header"));
    Lsn(u64::from(half(0)) << 32 | u64::from(half(4)))
}

fn difference(ours: &PageBytes, theirs: &PageBytes, fork: Fork, block: u32) -> Option<String> {
    let (mut a, mut b) = (Box::new(*ours), Box::new(*theirs));
    let rmid = rmgr_of_page(theirs);
    mask(&mut a, rmid, fork, block);
    mask(&mut b, rmid, fork, block);
    bytes_that_differ(&a, &b)
}

/// The masks leave out the LSN, but here it is the same, with one exception: redo gives a heap page that
/// becomes all-visible the LSN of that record, which PostgreSQL does only where hints are in WAL.
fn other_lsn(ours: &PageBytes, theirs: &PageBytes) -> Option<&'static str> {
    let all_visible_heap = rmgr_of_page(ours) == HEAP && ours[10] & PD_ALL_VISIBLE as u8 != 0;
    let (a, b) = (page_lsn(ours), page_lsn(theirs));
    (a != b && !(all_visible_heap && a > b)).then_some("the LSNs differ")
}

fn bytes_that_differ(a: &PageBytes, b: &PageBytes) -> Option<String> {
    let mut differing = a.iter().zip(b).enumerate().filter(|(_, (x, y))| x != y).map(|(at, _)| at);
    let first = differing.next()?;
    Some(format!(
        "{} bytes differ, the first at {first}: {} and {}",
        1 + differing.count(),
        a[first],
        b[first]
    ))
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

/// None if there is no such file.
fn pages(file: &Path) -> Option<Vec<PageBytes>> {
    let bytes = std::fs::read(file).ok()?;
    let (pages, rest) = bytes.as_chunks::<BLCKSZ>();
    assert!(rest.is_empty(), "{} ends within a page", file.display());
    Some(pages.to_vec())
}

#[test]
fn a_planted_difference_is_found() {
    let sides = Sides { start: Lsn(0x100_0000), all_prepared: true };
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
