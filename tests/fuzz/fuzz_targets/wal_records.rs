//! Records with right headers, checksums and pages, and anything in them: what lies behind the stream decoder.
#![no_main]

use fuzz::{Choices, read_in_full};
use libfuzzer_sys::fuzz_target;
use pg_format::wal::{RECORD_HEADER_SIZE, RecordHeader, WalIdentity, record_crc};
use types::{BLCKSZ, Lsn, PgVersion, WalSegmentSize};
use wal_decoder::WalStreamDecoder;

const START: Lsn = Lsn(16 << 20);
const RESOURCE_MANAGERS: u8 = 22;

/// Lays records out on pages as a server does.
struct Writer {
    identity: WalIdentity,
    wal: Vec<u8>,
    prev: Lsn,
}

impl Writer {
    fn begin_page(&mut self, remaining: usize) {
        let mut header = [0; 64];
        let info = u16::from(remaining > 0);
        let start = Lsn(START.0 + self.wal.len() as u64);
        let size = self.identity.write_page_header(&mut header, start, info, remaining as u32);
        self.wal.extend(&header[..size]);
    }

    fn record(&mut self, rmid: u8, info: u8, xid: u32, body: &[u8]) {
        let tot_len = (RECORD_HEADER_SIZE + body.len()) as u32;
        let header = RecordHeader { tot_len, xid, prev: self.prev, info, rmid, crc: 0 };
        let mut record = [&header.encode()[..], body].concat();
        let crc = record_crc(&record).expect("it has a header");
        record[RECORD_HEADER_SIZE - 4..RECORD_HEADER_SIZE].copy_from_slice(&crc.to_le_bytes());
        self.wal.resize(self.wal.len().next_multiple_of(8), 0);
        let mut rest = record.as_slice();
        if self.wal.len() % BLCKSZ == 0 {
            self.begin_page(0);
        }
        self.prev = Lsn(START.0 + self.wal.len() as u64);
        while !rest.is_empty() {
            if self.wal.len() % BLCKSZ == 0 {
                self.begin_page(rest.len());
            }
            let (now, later) = rest.split_at(rest.len().min(BLCKSZ - self.wal.len() % BLCKSZ));
            self.wal.extend(now);
            rest = later;
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices(data);
    let version = choices.version();
    let piece = usize::from(choices.u16()).max(1);
    let identity =
        WalIdentity { version, system_identifier: 1, segment_size: WalSegmentSize::DEFAULT, tli: 1 };
    let mut writer = Writer { identity, wal: Vec::new(), prev: Lsn(0) };
    let mut written = 0;
    while !choices.0.is_empty() {
        let (rmid, info, xid) = (choices.byte() % RESOURCE_MANAGERS, choices.byte(), choices.u32());
        // XLOG_SWITCH would need all the pages behind it.
        if rmid == 0 && info & 0xf0 == 0x40 {
            continue;
        }
        let length = usize::from(choices.u16());
        let body = choices.bytes(length).to_vec();
        writer.record(rmid, info, xid, &body);
        written += 1;
    }
    // What a page still lacks.
    writer.wal.resize(writer.wal.len().next_multiple_of(8), 0);
    assert_eq!(read(&writer.wal, version, piece), written, "records that were written are not read");
});

/// How many come out: none is refused, since the stream is right.
fn read(wal: &[u8], version: PgVersion, piece: usize) -> usize {
    let mut decoder = WalStreamDecoder::new(START, version, WalSegmentSize::DEFAULT);
    let mut count = 0;
    for piece in wal.chunks(piece) {
        decoder.feed(piece);
        while let Some(record) = decoder.next_record().expect("the stream is right") {
            read_in_full(&record, version);
            count += 1;
        }
    }
    count
}
