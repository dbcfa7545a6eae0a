//! What can be said of a relation's page without knowing what it belongs to. Changing pages is `page_redo`'s
//! business, and so is its fuller view of them.
//!
//! ```text
//!  0 pd_lsn (high u32, low u32)   8 pd_checksum   10 pd_flags   12 pd_lower   14 pd_upper   16 pd_special
//!  18 pd_pagesize_version         20 pd_prune_xid               24 line pointers …
//! ```

use types::{BLCKSZ, Lsn};

use crate::field::{put, u16_at, u32_at};

pub type PageBytes = [u8; BLCKSZ];

const CHECKSUM_AT: usize = 8;

/// End of the last record that changed the page.
pub fn lsn(page: &PageBytes) -> Lsn {
    Lsn(u64::from(u32_at(page, 0)) << 32 | u64::from(u32_at(page, 4)))
}

/// `PageIsNew`: never initialised.
pub fn is_new(page: &PageBytes) -> bool {
    u16_at(page, 14) == 0
}

/// Puts the checksum in that a cluster with data checksums demands. New pages have none.
pub fn set_checksum(page: &mut PageBytes, block_number: u32) {
    if !is_new(page) {
        let sum = checksum(page, block_number);
        put(page, CHECKSUM_AT, &sum.to_le_bytes());
    }
}

/// `pg_checksum_page`: 32 sums in the manner of FNV-1a side by side, folded, mixed with the block number. The
/// checksum field itself counts as zero.
pub fn checksum(page: &PageBytes, block_number: u32) -> u16 {
    let mut sums = SEEDS;
    for row in 0..BLCKSZ / (4 * SEEDS.len()) {
        for (column, sum) in sums.iter_mut().enumerate() {
            let at = 4 * (row * SEEDS.len() + column);
            let word = u32_at(page, at);
            *sum = mix(*sum, if at == CHECKSUM_AT { word & 0xffff_0000 } else { word });
        }
    }
    for _ in 0..2 {
        for sum in &mut sums {
            *sum = mix(*sum, 0);
        }
    }
    let folded = sums.into_iter().fold(0, |all, sum| all ^ sum) ^ block_number;
    // Never zero: that means "no checksum".
    (folded % 65535 + 1) as u16
}

fn mix(sum: u32, word: u32) -> u32 {
    const FNV_PRIME: u32 = 16_777_619;
    let mixed = sum ^ word;
    mixed.wrapping_mul(FNV_PRIME) ^ (mixed >> 17)
}

/// Where the sums begin (`checksumBaseOffsets`).
const SEEDS: [u32; 32] = [
    0x5b1f_36e9,
    0xb852_5960,
    0x02ab_50aa,
    0x1de6_6d2a,
    0x79ff_467a,
    0x9bb9_f8a3,
    0x217e_7cd2,
    0x83e1_3d2c,
    0xf8d4_474f,
    0xe39e_b970,
    0x42c6_ae16,
    0x9932_16fa,
    0x7b09_3b5d,
    0x98da_ff3c,
    0xf718_902a,
    0x0b1c_9cdb,
    0xe58f_764b,
    0x1876_36bc,
    0x5d7b_3bb1,
    0xe73d_e7de,
    0x92be_c979,
    0xcca6_c0b2,
    0x304a_0979,
    0x85aa_43d4,
    0x7831_25bb,
    0x6ca8_eaa2,
    0xe407_eac6,
    0x4b5c_fc3e,
    0x9fbf_8c76,
    0x15ca_20be,
    0xf2ca_9fd3,
    0x959b_d756,
];
