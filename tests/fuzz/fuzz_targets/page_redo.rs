//! A change of a page, and the page: real ones from a server's WAL (`make_seeds`), mutated.
#![no_main]

use bytes::Bytes;
use fuzz::Choices;
use libfuzzer_sys::fuzz_target;
use page_redo::{Change, apply, mask};
use types::{BLCKSZ, Fork, Lsn};

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices(data);
    let version = choices.version();
    let length = usize::from(choices.u16());
    let change = Bytes::copy_from_slice(choices.bytes(length));
    let mut page = Box::new([0; BLCKSZ]);
    let given = choices.bytes(BLCKSZ);
    page[..given.len()].copy_from_slice(given);
    // Newer than any page.
    let lsn = Lsn(u64::MAX / 2);
    let Ok(change) = Change::decode_shared(change) else { return };
    if let Err(error) = apply(&mut page, &change, lsn, version) {
        let text = error.to_string();
        assert!(text.contains(change.rmgr_name()) && text.contains(&lsn.to_string()), "{text}");
    }
    let rmid = mask::rmgr_of_page(&page);
    mask::mask(&mut page, rmid, Fork::Main, 0);
});
