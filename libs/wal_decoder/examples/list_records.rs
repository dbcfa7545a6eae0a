//! Lists the records of WAL segment files, one a line, for comparison with pg_waldump:
//! `list_records PG_MAJOR START_LSN FILE...` with files of consecutive segments.

use std::io::Write;

use anyhow::Context;
use pg_format::rmgr::name;
use types::{Lsn, PgVersion, WalSegmentSize};
use wal_decoder::{WalStreamDecoder, decode};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let version: PgVersion = arguments.next().context("PG_MAJOR is missing")?.parse()?;
    let start: Lsn = arguments.next().context("START_LSN is missing")?.parse()?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut decoder: Option<WalStreamDecoder> = None;
    for file in arguments {
        let bytes = std::fs::read(&file)?;
        let size = WalSegmentSize::new(bytes.len() as u32).context("not a segment")?;
        let first = decoder.is_none();
        let decoder = decoder.get_or_insert_with(|| WalStreamDecoder::new(start, version, size));
        decoder.feed(if first { &bytes[start.segment_offset(size.bytes()) as usize..] } else { &bytes });
        loop {
            match decoder.next_record() {
                Ok(Some(record)) => {
                    let decoded = decode(&record, version)?;
                    for block in &decoded.blocks {
                        if let Some(image) = &block.image {
                            image.restore().with_context(|| format!("image at {}", record.start_lsn))?;
                        }
                    }
                    check_typed(&decoded, version)?;
                    let header = decoded.header;
                    let rmgr = name(header.rmid).unwrap_or("?");
                    let Lsn(lsn) = record.start_lsn;
                    writeln!(
                        out,
                        "{rmgr} {} {} {:X}/{:08X} {:X}/{:08X}",
                        header.tot_len,
                        header.xid,
                        lsn >> 32,
                        lsn as u32,
                        header.prev.0 >> 32,
                        header.prev.0 as u32
                    )?;
                }
                Ok(None) => break,
                Err(error) => {
                    out.flush()?;
                    eprintln!("{error}");
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Reads the main data of every record whose resource manager has a typed form.
fn check_typed(record: &wal_decoder::DecodedRecord, version: PgVersion) -> anyhow::Result<()> {
    use pg_format::rmgr as ids;
    use wal_decoder::rmgr::*;
    match record.header.rmid {
        ids::XLOG => xlog::decode(record, version).map(drop)?,
        ids::XACT => xact::decode(record, version).map(drop)?,
        ids::SMGR => smgr::decode(record, version).map(drop)?,
        ids::CLOG => clog::decode(record, version).map(drop)?,
        ids::DBASE => dbase::decode(record, version).map(drop)?,
        ids::TBLSPC => tblspc::decode(record, version).map(drop)?,
        ids::MULTIXACT => multixact::decode(record, version).map(drop)?,
        ids::RELMAP => relmap::decode(record, version).map(drop)?,
        ids::STANDBY => standby::decode(record, version).map(drop)?,
        ids::SEQ => seq::decode(record, version).map(drop)?,
        ids::COMMIT_TS => commit_ts::decode(record, version).map(drop)?,
        _ => {}
    }
    Ok(())
}
