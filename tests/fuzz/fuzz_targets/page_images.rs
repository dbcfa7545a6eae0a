//! Full-page images: each compression, any hole, any bytes.
#![no_main]

use bytes::Bytes;
use fuzz::Choices;
use libfuzzer_sys::fuzz_target;
use wal_decoder::BlockImage;

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices(data);
    let image = BlockImage {
        apply: true,
        bimg_info: choices.byte(),
        hole_offset: choices.u16(),
        hole_length: choices.u16(),
        data: Bytes::copy_from_slice(choices.0),
    };
    let _ = image.restore();
});
