//! What redo made against the files of the cleanly stopped cluster: each page of each relation, touched or not,
//! sizes, relation maps, SLRUs, counters.

use std::collections::BTreeSet;

use page_redo::mask::rmgr_of_page;
use page_redo::page::{HEADER_SIZE, PageBytes};
use pg_format::rmgr;
use types::{BLCKSZ, Fork, PgVersion, RelTag, SlruKind};

use crate::compare::{difference, with_bits_of, without_bits_lost_in_recovery};
use crate::replay::Replay;

impl Replay<'_> {
    pub fn compare_at_rest(&mut self) -> anyhow::Result<()> {
        let databases = self.stopped.databases()?;
        let mut theirs = BTreeSet::new();
        for &(spc, db) in &databases {
            theirs.extend(self.stopped.logged_forks((spc, db))?);
            let directory = self.stopped.database_directory(spc, db);
            let (ours, map) = (self.store.map(spc, db)?, self.stopped.relation_map(&directory)?);
            if ours.is_some() || map.is_some() {
                self.report.at_rest("relation maps", ours == map);
            }
            if ours != map {
                self.show(&format!("at rest: the relation map of {}", directory.display()));
            }
        }
        self.missing_files(&theirs)?;
        for rel in theirs {
            self.relation(rel)?;
        }
        for kind in SlruKind::ALL {
            self.slru(kind)?;
        }
        let (ours, theirs) = (self.store.tablespaces(), &self.stopped.tablespaces()?);
        self.report.at_rest("sets of tablespaces", ours == theirs);
        if ours != theirs {
            let text = format!("at rest: tablespaces {ours:?}, in pg_tblspc {theirs:?}");
            self.show(&text);
        }
        let (ours, theirs) = (self.positions.counted(), self.stopped.control_file()?.checkpoint_copy);
        self.report.at_rest("counters in pg_control", ours == theirs);
        if ours != theirs {
            self.show(&format!("at rest: {ours:?}, in pg_control {theirs:?}"));
        }
        Ok(())
    }

    /// Relations that only redo has.
    fn missing_files(&mut self, theirs: &BTreeSet<RelTag>) -> anyhow::Result<()> {
        let ours: Vec<RelTag> = self.store.relations().filter(|rel| rel.fork != Fork::Fsm).collect();
        for rel in ours {
            let unlogged = self.stopped.is_unlogged(&self.stopped.database_directory(rel.spc, rel.db), rel);
            if !theirs.contains(&rel) && !unlogged {
                self.report.at_rest("relation sizes", false);
                self.show(&format!("at rest: {rel} is only in ours"));
            }
        }
        Ok(())
    }

    fn relation(&mut self, rel: RelTag) -> anyhow::Result<()> {
        let directory = self.stopped.database_directory(rel.spc, rel.db);
        let their_size = self.stopped.relation_size(&directory, rel)?.unwrap_or(0);
        // Files grow before WAL says so, by pages that hold nothing. Vacuum makes a map before it has a bit to set.
        let our_size = self.store.size(rel)?.or((rel.fork == Fork::Vm).then_some(0));
        let mut same_size = our_size.is_some_and(|blocks| blocks <= their_size);
        for block in 0..their_size {
            let Some(theirs) = self.stopped.relation_page(&directory, rel, block)? else { break };
            if our_size.is_none_or(|blocks| blocks <= block) {
                let empty = theirs[HEADER_SIZE..].iter().all(|byte| *byte == 0);
                same_size &=
                    empty || self.stopped.version >= PgVersion::V17 && is_bloom_init_fork(rel, &theirs);
            } else {
                self.page(rel, block, &theirs)?;
            }
        }
        self.report.at_rest("relation sizes", same_size);
        if !same_size {
            self.show(&format!("at rest: {rel} has {our_size:?} blocks in ours, {their_size} in the file"));
        }
        Ok(())
    }

    fn page(&mut self, rel: RelTag, block: u32, theirs: &PageBytes) -> anyhow::Result<()> {
        let (ours, rmid, recovered) = match self.store.touched(rel, block) {
            Some(entry) => (entry.page.clone(), entry.rmid, entry.recovered),
            None => (self.store.untouched(rel, block)?, rmgr::XLOG, false),
        };
        let kind = if rmid == rmgr::XLOG { rmgr_of_page(&ours) } else { rmid };
        let mut lenient = if self.store.is_hollow(rel) { with_bits_of(&ours, theirs) } else { ours.clone() };
        if rel.fork == Fork::Main {
            take_unlogged(&mut lenient, theirs, block, kind);
        }
        if recovered {
            lenient = without_bits_lost_in_recovery(&lenient, theirs);
        }
        let found = difference(&lenient, theirs, rmid, rel.fork, block);
        self.report.at_rest("pages", found.is_none());
        if let Some((at, count)) = found {
            let last = page_redo::rmgr_name(kind);
            self.show(&format!(
                "at rest: {rel} block {block} (last: {last}): {count} bytes differ, the first at {at}"
            ));
            self.save(&format!("rest-{}-{block}", rel.rel), &ours, theirs)?;
        }
        Ok(())
    }

    /// A page that a file does not reach is one of zeros.
    fn slru(&mut self, kind: SlruKind) -> anyhow::Result<()> {
        let mut segments: BTreeSet<u32> = self.stopped.slru_segments(kind)?.into_iter().collect();
        segments.extend(self.store.slru_segments(kind));
        for segment in segments {
            for block in 0..SlruKind::BLOCKS_PER_SEGMENT {
                let theirs = self.stopped.slru_page(kind, segment, block)?;
                let theirs = theirs.unwrap_or_else(|| Box::new([0; BLCKSZ]));
                let ours = *self.store.slru_page(kind, segment, block)?;
                self.report.at_rest("pages of SLRUs", ours == *theirs);
                if ours != *theirs {
                    let directory = kind.directory();
                    self.show(&format!("at rest: {directory} segment {segment:04X} block {block} differs"));
                    self.save(&format!("rest-slru{}-{segment}-{block}", kind as u8), &ours, &theirs)?;
                }
            }
        }
        Ok(())
    }
}

/// From version 16 on contrib/bloom makes the init fork of an unlogged index by a generic record, and those are not
/// written for unlogged relations: WAL has the fork, but not its metapage.
fn is_bloom_init_fork(rel: RelTag, page: &PageBytes) -> bool {
    const BLOOM_PAGE_ID: u16 = 0xff83;
    rel.fork == Fork::Init && page.ends_with(&BLOOM_PAGE_ID.to_le_bytes())
}

/// Takes over what PostgreSQL changes on a page without WAL, beyond what the masks cover. The free space map, which
/// is never logged but for images of it, is not compared at all.
fn take_unlogged(ours: &mut PageBytes, theirs: &PageBytes, block: u32, rmid: u8) {
    let unlogged = match rmid {
        // FormData_pg_sequence_data: the record is ahead of the page by up to 32 values.
        rmgr::SEQ if block == 0 => {
            let tuple = usize::from(u16::from_le_bytes([theirs[24], theirs[25]]) & 0x7fff);
            let data = tuple + usize::from(*theirs.get(tuple + 22).unwrap_or(&0));
            data..data + 17
        }
        // SpGistMetaPageData.lastUsedPages: eight cached pages with free space, behind the magic number.
        rmgr::SPGIST if block == 0 => HEADER_SIZE + 4..HEADER_SIZE + 4 + 64,
        _ => return,
    };
    if let (Some(ours), Some(theirs)) = (ours.get_mut(unlogged.clone()), theirs.get(unlogged)) {
        ours.copy_from_slice(theirs);
    }
}
