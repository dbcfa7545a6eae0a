//! The map of pages that redo works on: what WAL has touched, over the files of the cluster after initdb.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use page_redo::page::PageBytes;
use types::{BLCKSZ, Fork, RelTag, SlruKind};

use crate::cluster::{Cluster, database_directory};

pub struct Entry {
    pub page: Box<PageBytes>,
    /// Resource manager of the last record that touched the page: its mask is the one to use.
    pub rmid: u8,
}

#[derive(Default)]
struct Relation {
    pages: BTreeMap<u32, Entry>,
    /// Blocks from here on are not those of the files after initdb any more.
    base_blocks: Option<u32>,
    /// See [`crate::compare::with_bits_of`].
    hollow: bool,
}

pub struct Store {
    base: Cluster,
    relations: HashMap<RelTag, Relation>,
    slrus: HashMap<(SlruKind, u32, u32), Box<PageBytes>>,
    /// Databases that were made as copies of files: where in `base` those lie.
    copied_from: HashMap<(u32, u32), PathBuf>,
}

fn zeros() -> Box<PageBytes> {
    Box::new([0; BLCKSZ])
}

impl Store {
    pub fn new(base: Cluster) -> Store {
        Store { base, relations: HashMap::new(), slrus: HashMap::new(), copied_from: HashMap::new() }
    }

    fn base_directory(&self, rel: RelTag) -> PathBuf {
        self.copied_from
            .get(&(rel.spc, rel.db))
            .cloned()
            .unwrap_or_else(|| database_directory(rel.spc, rel.db))
    }

    pub fn page(&mut self, rel: RelTag, block: u32, rmid: u8) -> anyhow::Result<&mut PageBytes> {
        let relation = self.relations.entry(rel).or_default();
        if !relation.pages.contains_key(&block) {
            let in_base = relation.base_blocks.is_none_or(|blocks| block < blocks);
            let directory = self.base_directory(rel);
            let page = if in_base { self.base.relation_page(&directory, rel, block)? } else { None };
            let entry = Entry { page: page.unwrap_or_else(zeros), rmid };
            self.relations.entry(rel).or_default().pages.insert(block, entry);
        }
        let entry = self.relations.entry(rel).or_default().pages.entry(block);
        let entry =
            entry.and_modify(|entry| entry.rmid = rmid).or_insert_with(|| Entry { page: zeros(), rmid });
        Ok(&mut entry.page)
    }

    pub fn slru_page(&mut self, kind: SlruKind, segment: u32, block: u32) -> anyhow::Result<&mut PageBytes> {
        let key = (kind, segment, block);
        if !self.slrus.contains_key(&key) {
            let page = self.base.slru_page(kind, segment, block)?;
            self.slrus.insert(key, page.unwrap_or_else(zeros));
        }
        Ok(self.slrus.entry(key).or_insert_with(zeros))
    }

    /// A fork has only so many blocks.
    pub fn truncate(&mut self, rel: RelTag, blocks: u32) {
        let relation = self.relations.entry(rel).or_default();
        relation.pages.split_off(&blocks);
        relation.base_blocks = Some(relation.base_blocks.map_or(blocks, |old| old.min(blocks)));
    }

    /// A relation's file was made new: nothing of an older one of that number remains.
    pub fn create(&mut self, rel: RelTag) {
        self.truncate(rel, 0);
        if rel.fork == Fork::Main {
            self.truncate(rel.with_fork(Fork::Vm), 0);
            self.truncate(rel.with_fork(Fork::Fsm), 0);
        }
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
        self.copied_from.insert(to, self.base_directory(source));
        let copies: Vec<(RelTag, Relation)> = self
            .relations
            .iter()
            .filter(|(rel, _)| (rel.spc, rel.db) == from)
            .map(|(rel, relation)| (RelTag { spc: to.0, db: to.1, ..*rel }, relation.copy()))
            .collect();
        self.relations.extend(copies);
    }

    pub fn pages(&self) -> impl Iterator<Item = (RelTag, u32, &Entry)> {
        self.relations.iter().flat_map(|(rel, relation)| {
            relation.pages.iter().map(move |(block, entry)| (*rel, *block, entry))
        })
    }

    pub fn slru_pages(&self) -> impl Iterator<Item = (SlruKind, u32, u32, &PageBytes)> {
        self.slrus.iter().map(|((kind, segment, block), page)| (*kind, *segment, *block, &**page))
    }
}

impl Relation {
    fn copy(&self) -> Relation {
        let entry = |entry: &Entry| Entry { page: entry.page.clone(), rmid: entry.rmid };
        let pages = self.pages.iter().map(|(block, old)| (*block, entry(old))).collect();
        Relation { pages, base_blocks: self.base_blocks, hollow: self.hollow }
    }
}
