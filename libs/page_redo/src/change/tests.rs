use super::*;
use crate::{MultiXactMember, MultiXactStart, VmBits, XidStatus};

const REL: RelTag = RelTag { spc: 1663, db: 5, rel: 16384, fork: Fork::Main };

fn block_change(image: Option<BlockImage>) -> BlockChange {
    let tag = |id, flags, rel, blkno| BlockTag { id, flags, rel, blkno };
    BlockChange {
        rmid: 10,
        info: 0x80,
        xid: 12345,
        index: 1,
        blocks: vec![
            tag(0, FLAG_HAS_DATA, REL, 7),
            tag(1, if image.is_some() { FLAG_HAS_IMAGE } else { FLAG_WILL_INIT }, REL.with_fork(Fork::Vm), 8),
            tag(4, 0, RelTag { rel: 9, ..REL }, u32::MAX),
        ],
        image,
        main_data: Bytes::from_static(b"main"),
        data: Bytes::from(vec![5; 300]),
    }
}

fn examples() -> Vec<Change> {
    let image = BlockImage {
        apply: true,
        hole_offset: 100,
        hole_length: 8000,
        bimg_info: 3,
        data: Bytes::from(vec![1; 192]),
    };
    vec![
        Change::Postgres(block_change(None)),
        Change::Postgres(block_change(Some(image))),
        Change::Native(NativeChange::VmClear(vec![VmBits { heap_block: 3, flags: 3 }])),
        Change::Native(NativeChange::VmTruncate { heap_blocks: 77 }),
        Change::Native(NativeChange::FsmTruncate { heap_blocks: 78 }),
        Change::Native(NativeChange::ZeroPage),
        Change::Native(NativeChange::ClogSet {
            status: XidStatus::Aborted,
            timestamp: None,
            xids: vec![3, 9],
        }),
        Change::Native(NativeChange::ClogSet {
            status: XidStatus::Committed,
            timestamp: Some(-7),
            xids: vec![],
        }),
        Change::Native(NativeChange::MultiXactOffsets(vec![MultiXactStart { multixact: 2047, offset: 1 }])),
        Change::Native(NativeChange::MultiXactMembers {
            first_offset: u32::MAX,
            members: vec![MultiXactMember { xid: 800, status: 5 }],
        }),
    ]
}

#[test]
fn changes_round_trip() {
    for change in examples() {
        let bytes = change.encode();
        assert_eq!(Change::decode(&bytes).unwrap(), change);
        assert_eq!(Change::decode_shared(bytes).unwrap(), change);
    }
}

#[test]
fn whatever_is_cut_short_is_refused_or_shorter() {
    for change in examples() {
        let bytes = change.encode();
        for length in 0..bytes.len() {
            // The data of a block ends where the bytes end, all else has a length.
            match Change::decode(&bytes[..length]) {
                Ok(Change::Postgres(shorter)) => assert!(shorter.data.len() < 300),
                Ok(Change::Native(_)) => panic!("{change:?} decodes from {length} bytes"),
                Err(error) => assert!(!error.is_unsupported()),
            }
        }
    }
}

#[test]
fn an_unknown_format_version_is_not_guessed() {
    let mut bytes = examples()[0].encode().to_vec();
    bytes[0] = 2;
    assert!(Change::decode(&bytes).unwrap_err().is_unsupported());
}

#[test]
fn pages_made_from_nothing_are_known() {
    let will_init: Vec<bool> = examples().iter().map(Change::will_init).collect();
    assert_eq!(will_init, [true, true, false, false, false, true, false, false, false, false]);
}
