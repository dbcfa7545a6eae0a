//! Opcode names as pg_waldump prints them, and all that a resource manager of PostgreSQL 15 may put blocks
//! into, to tell which were never seen.

use pg_format::rmgr;

type Opcodes = &'static [(u8, &'static str)];

const XLOG: Opcodes = &[(0xa0, "FPI_FOR_HINT"), (0xb0, "FPI")];
const HEAP2: Opcodes = &[
    (0x10, "PRUNE"),
    (0x20, "VACUUM"),
    (0x30, "FREEZE_PAGE"),
    (0x40, "VISIBLE"),
    (0x50, "MULTI_INSERT"),
    (0x60, "LOCK_UPDATED"),
    (0xd0, "MULTI_INSERT+INIT"),
];
const HEAP: Opcodes = &[
    (0x00, "INSERT"),
    (0x10, "DELETE"),
    (0x20, "UPDATE"),
    (0x40, "HOT_UPDATE"),
    (0x50, "HEAP_CONFIRM"),
    (0x60, "LOCK"),
    (0x70, "INPLACE"),
    (0x80, "INSERT+INIT"),
    (0xa0, "UPDATE+INIT"),
];
const BTREE: Opcodes = &[
    (0x00, "INSERT_LEAF"),
    (0x10, "INSERT_UPPER"),
    (0x20, "INSERT_META"),
    (0x30, "SPLIT_L"),
    (0x40, "SPLIT_R"),
    (0x50, "INSERT_POST"),
    (0x60, "DEDUP"),
    (0x70, "DELETE"),
    (0x80, "UNLINK_PAGE"),
    (0x90, "UNLINK_PAGE_META"),
    (0xa0, "NEWROOT"),
    (0xb0, "MARK_PAGE_HALFDEAD"),
    (0xc0, "VACUUM"),
    (0xe0, "META_CLEANUP"),
];
const HASH: Opcodes = &[
    (0x00, "INIT_META_PAGE"),
    (0x10, "INIT_BITMAP_PAGE"),
    (0x20, "INSERT"),
    (0x30, "ADD_OVFL_PAGE"),
    (0x40, "SPLIT_ALLOCATE_PAGE"),
    (0x50, "SPLIT_PAGE"),
    (0x60, "SPLIT_COMPLETE"),
    (0x70, "MOVE_PAGE_CONTENTS"),
    (0x80, "SQUEEZE_PAGE"),
    (0x90, "DELETE"),
    (0xa0, "SPLIT_CLEANUP"),
    (0xb0, "UPDATE_META_PAGE"),
    (0xc0, "VACUUM_ONE_PAGE"),
];
const GIN: Opcodes = &[
    (0x10, "CREATE_PTREE"),
    (0x20, "INSERT"),
    (0x30, "SPLIT"),
    (0x40, "VACUUM_PAGE"),
    (0x50, "DELETE_PAGE"),
    (0x60, "UPDATE_META_PAGE"),
    (0x70, "INSERT_LISTPAGE"),
    (0x80, "DELETE_LISTPAGE"),
    (0x90, "VACUUM_DATA_LEAF_PAGE"),
];
const GIST: Opcodes = &[(0x00, "PAGE_UPDATE"), (0x10, "DELETE"), (0x30, "PAGE_SPLIT"), (0x60, "PAGE_DELETE")];
const SEQ: Opcodes = &[(0x00, "LOG")];
const SPGIST: Opcodes = &[
    (0x10, "ADD_LEAF"),
    (0x20, "MOVE_LEAFS"),
    (0x30, "ADD_NODE"),
    (0x40, "SPLIT_TUPLE"),
    (0x50, "PICKSPLIT"),
    (0x60, "VACUUM_LEAF"),
    (0x70, "VACUUM_ROOT"),
    (0x80, "VACUUM_REDIRECT"),
];
const BRIN: Opcodes = &[
    (0x00, "CREATE_INDEX"),
    (0x10, "INSERT"),
    (0x20, "UPDATE"),
    (0x30, "SAMEPAGE_UPDATE"),
    (0x40, "REVMAP_EXTEND"),
    (0x50, "DESUMMARIZE"),
    (0x90, "INSERT+INIT"),
    (0xa0, "UPDATE+INIT"),
];
const GENERIC: Opcodes = &[(0x00, "Generic")];

pub const ALL: &[(u8, Opcodes)] = &[
    (rmgr::XLOG, XLOG),
    (rmgr::HEAP2, HEAP2),
    (rmgr::HEAP, HEAP),
    (rmgr::BTREE, BTREE),
    (rmgr::HASH, HASH),
    (rmgr::GIN, GIN),
    (rmgr::GIST, GIST),
    (rmgr::SEQ, SEQ),
    (rmgr::SPGIST, SPGIST),
    (rmgr::BRIN, BRIN),
    (rmgr::GENERIC, GENERIC),
];

pub fn opcode(rmid: u8, info: u8) -> String {
    let known = ALL.iter().find(|(id, _)| *id == rmid);
    let name = known.and_then(|(_, opcodes)| opcodes.iter().find(|(opcode, _)| *opcode == info));
    name.map_or_else(|| format!("{info:#04X}"), |(_, name)| (*name).to_owned())
}
