//! Seeds for the fuzzer out of samples that the oracle of page redo took of a server's WAL
//! (tests/redo_oracle/run.sh --samples): `make_seeds SAMPLES PG_MAJOR CORPUS`.

use std::path::PathBuf;

const PAGE: usize = 8192;
const MAX_SIZE: usize = 64 << 20;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().expect("make_seeds SAMPLES PG_MAJOR CORPUS");
    let (samples, major, corpus) = (argument(), argument(), PathBuf::from(argument()));
    let compressed = std::fs::read(samples).expect("the samples");
    let bytes = zstd::bulk::decompress(&compressed, MAX_SIZE).expect("samples are zstd");
    let mut rest = bytes.as_slice();
    let mut take = |count: usize| {
        let (taken, behind) = rest.split_at(count);
        rest = behind;
        (taken, behind.is_empty())
    };
    for number in 0.. {
        take(8);
        let length = u32::from_le_bytes(take(4).0.try_into().expect("four bytes")) as usize;
        let (change, page) = (take(length).0, take(PAGE).0);
        let (_after, last) = take(PAGE);
        if let Ok(length) = u16::try_from(length) {
            let version = u8::from(major != "15");
            let seed = [&[version][..], &length.to_le_bytes(), change, page].concat();
            std::fs::write(corpus.join(format!("pg{major}-{number}")), seed).expect("a seed");
        }
        if last {
            return;
        }
    }
}
