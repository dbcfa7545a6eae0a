//! Bytes as WAL, in pieces of any size. The first page has a right header, and so the fuzzer gets further.
#![no_main]

use fuzz::{Choices, read_in_full};
use libfuzzer_sys::fuzz_target;
use pg_format::wal::WalIdentity;
use types::{Lsn, WalSegmentSize};
use wal_decoder::WalStreamDecoder;

const START: Lsn = Lsn(16 << 20);

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices(data);
    let version = choices.version();
    let piece = usize::from(choices.u16()).max(1);
    let identity =
        WalIdentity { version, system_identifier: 1, segment_size: WalSegmentSize::DEFAULT, tli: 1 };
    let mut wal = vec![0; 64];
    let length = identity.write_page_header(&mut wal, START, 0, 0);
    wal.truncate(length);
    wal.extend(choices.0);
    let mut decoder = WalStreamDecoder::new(START, version, WalSegmentSize::DEFAULT);
    for piece in wal.chunks(piece) {
        decoder.feed(piece);
        loop {
            match decoder.next_record() {
                Ok(Some(record)) => read_in_full(&record, version),
                Ok(None) => break,
                // What is wrong lies in what was fed.
                Err(error) => {
                    assert!(error.lsn >= START && error.lsn.0 <= START.0 + wal.len() as u64, "{error}");
                    return;
                }
            }
        }
    }
});
