//! Next transaction, OID and multixact: counted along with the records, compared with every shutdown checkpoint.

use pg_format::{CheckPoint, rmgr};
use types::PgVersion;
use wal_decoder::DecodedRecord;
use wal_decoder::rmgr::multixact::{self, MultiXactRecord};
use wal_decoder::rmgr::xact::{self, XactRecord};
use wal_decoder::rmgr::xlog::{self, XlogRecord};

/// OIDs that a server reserves with one record (`VAR_OID_PREFETCH`).
const RESERVED_OIDS: u32 = 8192;

pub struct Positions {
    counted: CheckPoint,
    version: PgVersion,
}

impl Positions {
    pub fn new(counted: CheckPoint, version: PgVersion) -> Positions {
        Positions { counted, version }
    }

    fn seen_xid(&mut self, xid: u32) {
        // No run is long enough for a second epoch.
        self.counted.next_xid = self.counted.next_xid.max(u64::from(xid) + 1);
    }

    /// For a shutdown checkpoint whether it has what was counted, or what not.
    pub fn record(&mut self, record: &DecodedRecord) -> anyhow::Result<Option<Result<(), String>>> {
        self.seen_xid(record.header.xid);
        if let Some(xid) = record.toplevel_xid {
            self.seen_xid(xid);
        }
        match record.header.rmid {
            rmgr::XLOG => match xlog::decode(record, self.version)? {
                XlogRecord::NextOid(oid) => self.counted.next_oid = oid,
                XlogRecord::CheckpointShutdown(written) => {
                    let checked =
                        self.check(&written).map_err(|what| format!("{what} at {}", record.start_lsn));
                    self.counted = written;
                    return Ok(Some(checked));
                }
                _ => {}
            },
            rmgr::XACT => match xact::decode(record, self.version)? {
                XactRecord::Commit(end)
                | XactRecord::Abort(end)
                | XactRecord::CommitPrepared(end)
                | XactRecord::AbortPrepared(end) => {
                    self.seen_xid(end.xid);
                    end.subxids.into_iter().for_each(|xid| self.seen_xid(xid));
                }
                XactRecord::Prepare(prepare) => {
                    self.seen_xid(prepare.xid);
                    prepare.subxids.into_iter().for_each(|xid| self.seen_xid(xid));
                }
                XactRecord::Assignment | XactRecord::Invalidations => {}
            },
            rmgr::MULTIXACT => {
                if let MultiXactRecord::Create(create) = multixact::decode(record, self.version)? {
                    let end = create.offset + create.members.len() as u32;
                    self.counted.next_multi = self.counted.next_multi.max(create.multixact + 1);
                    self.counted.next_multi_offset = self.counted.next_multi_offset.max(end);
                }
            }
            _ => {}
        }
        Ok(None)
    }

    fn check(&self, written: &CheckPoint) -> Result<(), String> {
        let ours = (self.counted.next_xid, self.counted.next_multi, self.counted.next_multi_offset);
        let theirs = (written.next_xid, written.next_multi, written.next_multi_offset);
        if ours != theirs {
            return Err(format!(
                "next xid, multixact and offset: ours {ours:?}, the checkpoint's {theirs:?}"
            ));
        }
        // A clean stop gives back what it reserved and did not use.
        let (ours, theirs) = (self.counted.next_oid, written.next_oid);
        if (ours.saturating_sub(RESERVED_OIDS)..=ours).contains(&theirs) {
            Ok(())
        } else {
            Err(format!("next OID: ours {ours}, the checkpoint's {theirs}"))
        }
    }

    /// After the last checkpoint, which pg_control has a copy of.
    pub fn counted(&self) -> CheckPoint {
        self.counted
    }
}
