//! The map of pages that redo works on: what WAL has touched, over the files of the cluster after initdb.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;

use page_redo::page::PageBytes;
use types::{BLCKSZ, Fork, RelTag, SlruKind};

use crate::cluster::Cluster;

pub struct Entry {
    pub page: Box<PageBytes>,
    /// Resource manager of the last record that touched the page: its mask is the one to use.
    pub rmid: u8,
    /// See [`crate::compare::without_bits_lost_in_recovery`].
    pub recovered: bool,
}

#[derive(Default)]
struct Relation {
    pages: BTreeMap<u32, Entry>,
    /// Blocks from here on are not those of the files after initdb any more.
    base_blocks: Option<u32>,
    /// See [`crate::compare::with_bits_of`].
    hollow: bool,
    /// None as long as WAL says nothing: as in the files after initdb.
    size: Option<Size>,
}

#[derive(Clone, Copy)]
enum Size {
    Blocks(u32),
    /// There is no such file any more.
    Gone,
}

pub struct Store {
    base: Cluster,
    relations: HashMap<RelTag, Relation>,
    slrus: HashMap<(SlruKind, u32, u32), Box<PageBytes>>,
    /// Segments that a truncation removed: the files after initdb have no say in them any more.
    removed_segments: HashSet<(SlruKind, u32)>,
    /// Databases that were made as copies of files: where in `base` those lie.
    copied_from: HashMap<(u32, u32), PathBuf>,
    /// None was made by initdb.
    tablespaces: BTreeSet<u32>,
    /// By tablespace and database.
    maps: HashMap<(u32, u32), Vec<u8>>,
}

fn zeros() -> Box<PageBytes> {
    Box::new([0; BLCKSZ])
}

impl Store {
    pub fn new(base: Cluster) -> Store {
        Store {
            base,
            relations: HashMap::new(),
            slrus: HashMap::new(),
            removed_segments: HashSet::new(),
            copied_from: HashMap::new(),
            tablespaces: BTreeSet::new(),
            maps: HashMap::new(),
        }
    }

    fn base_directory(&self, rel: RelTag) -> PathBuf {
        self.copied_from
            .get(&(rel.spc, rel.db))
            .cloned()
            .unwrap_or_else(|| self.base.database_directory(rel.spc, rel.db))
    }

    pub fn page(&mut self, rel: RelTag, block: u32, rmid: u8) -> anyhow::Result<&mut PageBytes> {
        let blocks = self.size(rel)?.map_or(block + 1, |blocks| blocks.max(block + 1));
        self.relations.entry(rel).or_default().size = Some(Size::Blocks(blocks));
        let relation = self.relations.entry(rel).or_default();
        if !relation.pages.contains_key(&block) {
            let in_base = relation.base_blocks.is_none_or(|blocks| block < blocks);
            let directory = self.base_directory(rel);
            let page = if in_base { self.base.relation_page(&directory, rel, block)? } else { None };
            let entry = Entry { page: page.unwrap_or_else(zeros), rmid, recovered: false };
            self.relations.entry(rel).or_default().pages.insert(block, entry);
        }
        let entry = self.relations.entry(rel).or_default().pages.entry(block);
        let entry = entry.and_modify(|entry| entry.rmid = rmid).or_insert_with(|| Entry {
            page: zeros(),
            rmid,
            recovered: false,
        });
        Ok(&mut entry.page)
    }

    pub fn slru_page(&mut self, kind: SlruKind, segment: u32, block: u32) -> anyhow::Result<&mut PageBytes> {
        let key = (kind, segment, block);
        if !self.slrus.contains_key(&key) {
            let removed = self.removed_segments.contains(&(kind, segment));
            let page = if removed { None } else { self.base.slru_page(kind, segment, block)? };
            self.slrus.insert(key, page.unwrap_or_else(zeros));
        }
        Ok(self.slrus.entry(key).or_insert_with(zeros))
    }

    /// Number of blocks of a fork; None if it has no file.
    pub fn size(&self, rel: RelTag) -> anyhow::Result<Option<u32>> {
        match self.relations.get(&rel).and_then(|relation| relation.size) {
            Some(Size::Blocks(blocks)) => Ok(Some(blocks)),
            Some(Size::Gone) => Ok(None),
            None => self.base.relation_size(&self.base_directory(rel), rel),
        }
    }

    /// A fork has at most so many blocks.
    pub fn truncate(&mut self, rel: RelTag, blocks: u32) -> anyhow::Result<()> {
        let size = self.size(rel)?.map_or(Size::Gone, |size| Size::Blocks(size.min(blocks)));
        let relation = self.relations.entry(rel).or_default();
        relation.size = Some(size);
        relation.pages.split_off(&blocks);
        relation.base_blocks = Some(relation.base_blocks.map_or(blocks, |old| old.min(blocks)));
        Ok(())
    }

    /// All forks of a relation go.
    pub fn drop(&mut self, rel: RelTag) {
        for fork in Fork::ALL {
            self.drop_fork(rel.with_fork(fork));
        }
    }

    fn drop_fork(&mut self, rel: RelTag) {
        let gone = Relation { base_blocks: Some(0), size: Some(Size::Gone), ..Relation::default() };
        self.relations.insert(rel, gone);
    }

    /// A relation's file was made new: nothing of an older one of that number remains.
    pub fn create(&mut self, rel: RelTag) {
        self.drop_fork(rel);
        if rel.fork == Fork::Main {
            self.drop_fork(rel.with_fork(Fork::Vm));
            self.drop_fork(rel.with_fork(Fork::Fsm));
        }
        self.relations.entry(rel).or_default().size = Some(Size::Blocks(0));
    }

    pub fn create_tablespace(&mut self, spc: u32) {
        self.tablespaces.insert(spc);
    }

    pub fn drop_tablespace(&mut self, spc: u32) {
        self.tablespaces.remove(&spc);
    }

    pub fn tablespaces(&self) -> &BTreeSet<u32> {
        &self.tablespaces
    }

    pub fn set_map(&mut self, spc: u32, db: u32, map: Vec<u8>) {
        self.maps.insert((spc, db), map);
    }

    pub fn map(&self, spc: u32, db: u32) -> anyhow::Result<Option<Vec<u8>>> {
        match self.maps.get(&(spc, db)) {
            Some(map) => Ok(Some(map.clone())),
            None => {
                let any = RelTag { spc, db, rel: 0, fork: Fork::Main };
                self.base.relation_map(&self.base_directory(any))
            }
        }
    }

    /// The page as it is without further records, and the resource manager of the last one; None if no record
    /// touched it.
    pub fn touched(&self, rel: RelTag, block: u32) -> Option<&Entry> {
        self.relations.get(&rel)?.pages.get(&block)
    }

    /// The page of the files after initdb.
    pub fn untouched(&self, rel: RelTag, block: u32) -> anyhow::Result<Box<PageBytes>> {
        let kept = self.relations.get(&rel).and_then(|relation| relation.base_blocks);
        let page = match kept {
            Some(blocks) if blocks <= block => None,
            _ => self.base.relation_page(&self.base_directory(rel), rel, block)?,
        };
        Ok(page.unwrap_or_else(zeros))
    }

    /// Forks that are there and that records touched.
    pub fn relations(&self) -> impl Iterator<Item = RelTag> {
        let there = |relation: &Relation| matches!(relation.size, Some(Size::Blocks(_)));
        self.relations.iter().filter(move |(_, relation)| there(relation)).map(|(rel, _)| *rel)
    }

    /// The directory of a database in a tablespace goes.
    pub fn drop_database(&mut self, spc: u32, db: u32) {
        self.relations.retain(|rel, _| (rel.spc, rel.db) != (spc, db));
        self.maps.remove(&(spc, db));
        self.copied_from.remove(&(spc, db));
    }

    /// The server crashed and recovered: maps have lost bits, until they are next compared.
    pub fn mark_recovered(&mut self) {
        let maps = self.relations.iter_mut().filter(|(rel, _)| rel.fork == Fork::Vm);
        maps.flat_map(|(_, relation)| relation.pages.values_mut()).for_each(|entry| entry.recovered = true);
    }

    /// Whether this is the first comparison of the page since a recovery.
    pub fn take_recovered(&mut self, rel: RelTag, block: u32) -> bool {
        let entry = self.relations.get_mut(&rel).and_then(|relation| relation.pages.get_mut(&block));
        entry.is_some_and(|entry| std::mem::take(&mut entry.recovered))
    }

    pub fn mark_hollow(&mut self, rel: RelTag) {
        self.relations.entry(rel).or_default().hollow = true;
    }

    pub fn is_hollow(&self, rel: RelTag) -> bool {
        self.relations.get(&rel).is_some_and(|relation| relation.hollow)
    }

    /// The whole directory of a database was copied.
    pub fn copy_database(&mut self, from: (u32, u32), to: (u32, u32)) {
        let source = RelTag { spc: from.0, db: from.1, rel: 0, fork: Fork::Main };
        self.drop_database(to.0, to.1);
        self.copied_from.insert(to, self.base_directory(source));
        if let Some(map) = self.maps.get(&from) {
            self.maps.insert(to, map.clone());
        }
        let copies: Vec<(RelTag, Relation)> = self
            .relations
            .iter()
            .filter(|(rel, _)| (rel.spc, rel.db) == from)
            .map(|(rel, relation)| (RelTag { spc: to.0, db: to.1, ..*rel }, relation.copy()))
            .collect();
        self.relations.extend(copies);
    }

    pub fn remove_slru_segments(&mut self, kind: SlruKind, goes: impl Fn(u32) -> bool) -> anyhow::Result<()> {
        let touched: Vec<u32> = self.slru_segments(kind).collect();
        let all = self.base.slru_segments(kind)?.into_iter().chain(touched);
        self.removed_segments.extend(all.filter(|segment| goes(*segment)).map(|segment| (kind, segment)));
        self.slrus.retain(|(of, segment, _), _| *of != kind || !goes(*segment));
        Ok(())
    }

    /// Segments of an SLRU that records touched.
    pub fn slru_segments(&self, kind: SlruKind) -> impl Iterator<Item = u32> {
        self.slrus.keys().filter(move |(of, ..)| *of == kind).map(|(_, segment, _)| *segment)
    }
}

impl Relation {
    fn copy(&self) -> Relation {
        let entry =
            |entry: &Entry| Entry { page: entry.page.clone(), rmid: entry.rmid, recovered: entry.recovered };
        let pages = self.pages.iter().map(|(block, old)| (*block, entry(old))).collect();
        Relation { pages, base_blocks: self.base_blocks, hollow: self.hollow, size: self.size }
    }
}
