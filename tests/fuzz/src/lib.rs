//! What the fuzz targets have in common: bytes to choices, and every reading of a record that there is.

use page_redo::{slru_changes, vm_clears};
use pg_format::rmgr as ids;
use types::{Lsn, PgVersion};
use wal_decoder::{DecodeError, DecodedRecord, WalRecord, rmgr};

/// Takes choices from the front of the fuzzer's bytes; zeros when they are used up.
pub struct Choices<'a>(pub &'a [u8]);

impl Choices<'_> {
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    pub fn u32(&mut self) -> u32 {
        u32::from(self.u16()) | u32::from(self.u16()) << 16
    }

    pub fn version(&mut self) -> PgVersion {
        if self.byte() % 2 == 0 { PgVersion::V15 } else { PgVersion::V17 }
    }

    /// At most so many bytes, as many as there are.
    pub fn bytes(&mut self, count: usize) -> &[u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// Reads a record in all ways that ingest does. Errors are fine if they say where.
pub fn read_in_full(record: &WalRecord, version: PgVersion) {
    let decoded = match wal_decoder::decode(record, version) {
        Ok(decoded) => decoded,
        Err(error) => return names_place(&error, record.start_lsn),
    };
    if let Err(error) = read_main_data(&decoded, version) {
        names_place(&error, record.start_lsn);
    }
    for image in decoded.blocks.iter().filter_map(|block| block.image.as_ref()) {
        let _ = image.restore();
    }
    let _ = vm_clears(&decoded);
    let _ = slru_changes(&decoded, version);
}

fn names_place(error: &DecodeError, start: Lsn) {
    assert_eq!(error.lsn, start, "{error}");
}

fn read_main_data(record: &DecodedRecord, version: PgVersion) -> Result<(), DecodeError> {
    match record.header.rmid {
        ids::XLOG => rmgr::xlog::decode(record, version).map(drop),
        ids::XACT => rmgr::xact::decode(record, version).map(drop),
        ids::SMGR => rmgr::smgr::decode(record, version).map(drop),
        ids::CLOG => rmgr::clog::decode(record, version).map(drop),
        ids::DBASE => rmgr::dbase::decode(record, version).map(drop),
        ids::TBLSPC => rmgr::tblspc::decode(record, version).map(drop),
        ids::MULTIXACT => rmgr::multixact::decode(record, version).map(drop),
        ids::RELMAP => rmgr::relmap::decode(record, version).map(drop),
        ids::STANDBY => rmgr::standby::decode(record, version).map(drop),
        ids::SEQ => rmgr::seq::decode(record, version).map(drop),
        ids::LOGICALMSG => rmgr::logicalmsg::decode(record, version).map(drop),
        ids::REPLORIGIN => rmgr::replorigin::decode(record, version).map(drop),
        ids::HEAP2 => rmgr::rewrite::decode(record, version).map(drop),
        ids::COMMIT_TS => rmgr::commit_ts::decode(record, version).map(drop),
        _ => Ok(()),
    }
}
