//! The run through the WAL: each record's changes applied, each check image compared.

use std::time::Instant;

use anyhow::{Context, bail};
use page_redo::page::{HEADER_SIZE, PageBytes};
use page_redo::{
    BlockChange, Change, NativeChange, apply, slru_changes, slru_truncation, truncated_maps, vm_clears,
};
use pg_format::rmgr;
use types::{BLCKSZ, Fork, Lsn, PgVersion, RelTag, SlruKind, WalSegmentSize};
use wal_decoder::rmgr::clog::{self, ClogRecord};
use wal_decoder::rmgr::dbase::{self, DbaseRecord};
use wal_decoder::rmgr::multixact::{self, MultiXactRecord};
use wal_decoder::rmgr::relmap;
use wal_decoder::rmgr::smgr::{self, SmgrRecord};
use wal_decoder::rmgr::tblspc::{self, TblspcRecord};
use wal_decoder::rmgr::xact::{self, XactRecord};
use wal_decoder::{DecodedBlock, DecodedRecord, WalStreamDecoder};

use crate::Options;
use crate::cluster::Cluster;
use crate::compare::{difference, with_bits_of, without_bits_lost_in_recovery};
use crate::names;
use crate::positions::Positions;
use crate::report::Report;
use crate::samples::Samples;
use crate::store::Store;

/// The decoder is fed in pieces of a size that fits nothing.
const PIECE: usize = 100_003;

pub struct Replay<'a> {
    options: &'a Options,
    version: PgVersion,
    pub(crate) stopped: Cluster,
    start: Lsn,
    /// Where the last record begins: the shutdown checkpoint.
    last: Lsn,
    pub(crate) store: Store,
    pub(crate) positions: Positions,
    samples: Samples,
    shown: usize,
    pub report: Report,
}

impl<'a> Replay<'a> {
    pub fn new(options: &'a Options) -> anyhow::Result<Replay<'a>> {
        let base = Cluster::new(&options.base)?;
        let stopped = Cluster::new(&options.stopped)?;
        let (control, last) = (base.control_file()?, stopped.control_file()?.checkpoint);
        let version = stopped.version;
        Ok(Replay {
            options,
            version,
            stopped,
            start: control.checkpoint,
            last,
            store: Store::new(base),
            positions: Positions::new(control.checkpoint_copy, version),
            samples: Samples::default(),
            shown: 0,
            report: Report::new(version),
        })
    }

    pub fn run(&mut self) -> anyhow::Result<()> {
        let size = WalSegmentSize::DEFAULT;
        let mut decoder = WalStreamDecoder::new(self.start, self.version, size);
        let mut skip = self.start.segment_offset(size.bytes()) as usize;
        for number in self.start.segment_number(size.bytes()).. {
            let segment = self.stopped.wal_segment(number)?;
            for piece in segment[skip..].chunks(PIECE) {
                decoder.feed(piece);
                while let Some(record) = decoder.next_record()? {
                    let decoded = wal_decoder::decode(&record, self.version)?;
                    self.record(&decoded).with_context(|| format!("record at {}", decoded.start_lsn))?;
                    if decoded.start_lsn == self.last {
                        self.report.wal = Some((self.start, decoded.end_lsn));
                        return Ok(());
                    }
                    if decoded.start_lsn > self.last {
                        bail!("no record begins at {}, where the last checkpoint should be", self.last);
                    }
                }
            }
            skip = 0;
        }
        Ok(())
    }

    fn record(&mut self, record: &DecodedRecord) -> anyhow::Result<()> {
        let (rmid, info) = (record.header.rmid, record.header.info);
        let line = self.report.line(rmid, info);
        line.records += 1;
        line.blocks += record.blocks.len() as u64;
        if let Some(checked) = self.positions.record(record)? {
            self.report.at_rest("counters of checkpoints", checked.is_ok());
            if let Err(complaint) = checked {
                self.show(&complaint);
            }
            // A run begins and ends with a clean stop; one in the middle is the end of a recovery.
            if record.start_lsn != self.start && record.start_lsn != self.last {
                self.store.mark_recovered();
            }
        }
        for index in 0..record.blocks.len() {
            self.block(record, index)?;
        }
        for (rel, block, change) in vm_clears(record)? {
            self.native(rel, block, change, record.end_lsn)?;
        }
        for (kind, segment, block, change) in slru_changes(record, self.version)? {
            self.report.implied_changes += 1;
            let page = self.store.slru_page(kind, segment, block)?;
            apply(page, &through_codec(Change::Native(change))?, record.end_lsn, self.version)?;
        }
        match rmid {
            rmgr::SMGR => self.smgr(record),
            rmgr::DBASE => self.database(record),
            rmgr::XACT => self.transaction(record),
            rmgr::TBLSPC => {
                match tblspc::decode(record, self.version)? {
                    TblspcRecord::Create { spc, .. } => self.store.create_tablespace(spc),
                    TblspcRecord::Drop { spc } => self.store.drop_tablespace(spc),
                }
                Ok(())
            }
            rmgr::CLOG | rmgr::MULTIXACT => self.truncated_slrus(record),
            rmgr::RELMAP => {
                let update = relmap::decode(record, self.version)?;
                self.store.set_map(update.spc, update.db, update.map.to_vec());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn native(&mut self, rel: RelTag, block: u32, change: NativeChange, lsn: Lsn) -> anyhow::Result<()> {
        self.report.implied_changes += 1;
        let page = self.store.page(rel, block, rmgr::HEAP)?;
        Ok(apply(page, &through_codec(Change::Native(change))?, lsn, self.version)?)
    }

    /// One block: applied, then compared with its check image.
    fn block(&mut self, record: &DecodedRecord, index: usize) -> anyhow::Result<()> {
        let block = &record.blocks[index];
        let (rmid, info) = (record.header.rmid, record.header.info);
        let change = Change::Postgres(BlockChange::from_record(record, index));
        let bytes = change.encode();
        self.report.change_bytes += bytes.len() as u64;

        let page = self.store.page(block.rel, block.blkno, rmid)?;
        if change.will_init() {
            // It must not matter what was there.
            page.fill(0xa5);
        }
        let before = self.options.samples.is_some().then(|| Box::new(*page));
        let begin = Instant::now();
        let outcome = apply(page, &Change::decode_shared(bytes.clone())?, record.end_lsn, self.version);
        self.report.apply_seconds += begin.elapsed().as_secs_f64();
        if let Some(before) = before
            && outcome.is_ok()
        {
            self.samples.offer((rmid, info & 0xf0, block.id), &bytes, record.end_lsn, &before, page);
        }

        let line = self.report.line(rmid, info);
        match &outcome {
            Ok(()) => line.applied += 1,
            Err(error) if error.is_unsupported() => line.unsupported += 1,
            Err(_) => line.failed += 1,
        }
        if let Err(error) = outcome
            && !error.is_unsupported()
        {
            self.show(&format!("{error}"));
        }
        match &block.image {
            Some(image) if image.apply => {
                if block.rel.fork == Fork::Vm && usize::from(image.hole_length) == BLCKSZ - HEADER_SIZE {
                    self.store.mark_hollow(block.rel);
                }
                Ok(())
            }
            Some(image) => self.check(record, block, &*image.restore()?),
            None => Ok(()),
        }
    }

    /// Compares, and goes on with the primary's page if ours is wrong, so that one error is told once.
    fn check(
        &mut self,
        record: &DecodedRecord,
        block: &DecodedBlock,
        primary: &PageBytes,
    ) -> anyhow::Result<()> {
        let (rmid, info) = (record.header.rmid, record.header.info);
        let hollow = self.store.is_hollow(block.rel);
        let recovered = self.store.take_recovered(block.rel, block.blkno);
        let page = self.store.page(block.rel, block.blkno, rmid)?;
        if hollow {
            *page = *with_bits_of(page, primary);
        }
        if recovered {
            *page = *without_bits_lost_in_recovery(page, primary);
        }
        let found = difference(page, primary, rmid, block.rel.fork, block.blkno);
        let ours = *page;
        if found.is_some() {
            *page = *primary;
        }
        let line = self.report.line(rmid, info);
        line.compared += 1;
        if let Some((at, count)) = found {
            line.different += 1;
            if self.options.only.as_deref().is_some_and(|only| only != page_redo::rmgr_name(rmid)) {
                return Ok(());
            }
            let name = format!("{} {}", page_redo::rmgr_name(rmid), names::opcode(self.version, rmid, info));
            let place = format!("{} block {} (id {})", block.rel, block.blkno, block.id);
            self.show(&format!(
                "{name} at {}: {place}: {count} bytes differ, the first at {at}",
                record.start_lsn
            ));
            self.save(&format!("{}-{}", record.start_lsn.0, block.id), &ours, primary)?;
        }
        Ok(())
    }

    pub(crate) fn show(&mut self, text: &str) {
        self.shown += 1;
        if self.shown <= self.options.show {
            println!("{text}");
        }
    }

    pub(crate) fn save(&self, name: &str, ours: &PageBytes, theirs: &PageBytes) -> anyhow::Result<()> {
        if let Some(directory) = &self.options.save
            && self.shown <= self.options.show
        {
            std::fs::write(directory.join(format!("{name}.ours")), ours)?;
            std::fs::write(directory.join(format!("{name}.theirs")), theirs)?;
        }
        Ok(())
    }

    fn smgr(&mut self, record: &DecodedRecord) -> anyhow::Result<()> {
        match smgr::decode(record, self.version)? {
            SmgrRecord::Create(rel) => self.store.create(rel),
            SmgrRecord::Truncate(truncate) => {
                if truncate.main {
                    self.store.truncate(truncate.rel, truncate.nblocks)?;
                }
                for fork in truncated_maps(truncate.rel, truncate.nblocks) {
                    self.store.truncate(fork.rel, fork.blocks)?;
                    let blocks = self.store.size(fork.rel)?.unwrap_or(0);
                    if let Some((block, change)) = fork.tail
                        && block < blocks
                    {
                        self.native(fork.rel, block, change, record.end_lsn)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn database(&mut self, record: &DecodedRecord) -> anyhow::Result<()> {
        match dbase::decode(record, self.version)? {
            DbaseRecord::CreateFileCopy { db, spc, source_db, source_spc } => {
                self.store.copy_database((source_spc, source_db), (spc, db));
            }
            DbaseRecord::Drop { db, spcs } => {
                spcs.into_iter().for_each(|spc| self.store.drop_database(spc, db));
            }
            DbaseRecord::CreateWalLog { .. } => {}
        }
        Ok(())
    }

    fn transaction(&mut self, record: &DecodedRecord) -> anyhow::Result<()> {
        use XactRecord::{Abort, AbortPrepared, Commit, CommitPrepared};
        if let Commit(end) | Abort(end) | CommitPrepared(end) | AbortPrepared(end) =
            xact::decode(record, self.version)?
        {
            end.dropped_relations.into_iter().for_each(|rel| self.store.drop(rel));
        }
        Ok(())
    }

    fn truncated_slrus(&mut self, record: &DecodedRecord) -> anyhow::Result<()> {
        use slru_truncation::{clog_segment_goes, members_segment_goes, offsets_segment_goes};
        if record.header.rmid == rmgr::CLOG {
            if let ClogRecord::Truncate { page, .. } = clog::decode(record, self.version)? {
                let goes = |segment| clog_segment_goes(segment, page);
                self.store.remove_slru_segments(SlruKind::Clog, goes)?;
            }
        } else if let MultiXactRecord::Truncate(ends) = multixact::decode(record, self.version)? {
            let offsets = |segment| offsets_segment_goes(segment, ends.end_multixact);
            let members = |segment| members_segment_goes(segment, ends.start_member, ends.end_member);
            self.store.remove_slru_segments(SlruKind::MultiXactOffsets, offsets)?;
            self.store.remove_slru_segments(SlruKind::MultiXactMembers, members)?;
        }
        Ok(())
    }

    pub fn write_samples(&self) -> anyhow::Result<()> {
        match &self.options.samples {
            Some(path) => self.samples.write(path),
            None => Ok(()),
        }
    }
}

/// As it would come back from a layer file.
fn through_codec(change: Change) -> anyhow::Result<Change> {
    Ok(Change::decode(&change.encode())?)
}
