//! Opcode names as pg_waldump prints them: all that PostgreSQL writes, to tell which were never seen.
//!
//! Left out are opcodes that no code of it writes (XLOG NOOP), and END_OF_RECOVERY, which belongs to a promotion
//! and so to another timeline than the one that is read here.

use pg_format::rmgr;
use types::PgVersion;

type Opcodes = &'static [(u8, &'static str)];

const XLOG: Opcodes = &[
    (0x00, "CHECKPOINT_SHUTDOWN"),
    (0x10, "CHECKPOINT_ONLINE"),
    (0x30, "NEXTOID"),
    (0x40, "SWITCH"),
    (0x50, "BACKUP_END"),
    (0x60, "PARAMETER_CHANGE"),
    (0x70, "RESTORE_POINT"),
    (0x80, "FPW_CHANGE"),
    (0xa0, "FPI_FOR_HINT"),
    (0xb0, "FPI"),
    (0xd0, "OVERWRITE_CONTRECORD"),
];
const XLOG_17: Opcodes = &[
    (0x00, "CHECKPOINT_SHUTDOWN"),
    (0x10, "CHECKPOINT_ONLINE"),
    (0x30, "NEXTOID"),
    (0x40, "SWITCH"),
    (0x50, "BACKUP_END"),
    (0x60, "PARAMETER_CHANGE"),
    (0x70, "RESTORE_POINT"),
    (0x80, "FPW_CHANGE"),
    (0xa0, "FPI_FOR_HINT"),
    (0xb0, "FPI"),
    (0xd0, "OVERWRITE_CONTRECORD"),
    (0xe0, "CHECKPOINT_REDO"),
];
const XACT: Opcodes = &[
    (0x00, "COMMIT"),
    (0x10, "PREPARE"),
    (0x20, "ABORT"),
    (0x30, "COMMIT_PREPARED"),
    (0x40, "ABORT_PREPARED"),
    (0x50, "ASSIGNMENT"),
    (0x60, "INVALIDATION"),
];
const SMGR: Opcodes = &[(0x10, "CREATE"), (0x20, "TRUNCATE")];
const CLOG: Opcodes = &[(0x00, "ZEROPAGE"), (0x10, "TRUNCATE")];
const DBASE: Opcodes = &[(0x00, "CREATE_FILE_COPY"), (0x10, "CREATE_WAL_LOG"), (0x20, "DROP")];
const TBLSPC: Opcodes = &[(0x00, "CREATE"), (0x10, "DROP")];
const MULTIXACT: Opcodes =
    &[(0x00, "ZERO_OFF_PAGE"), (0x10, "ZERO_MEM_PAGE"), (0x20, "CREATE_ID"), (0x30, "TRUNCATE_ID")];
const RELMAP: Opcodes = &[(0x00, "UPDATE")];
const STANDBY: Opcodes = &[(0x00, "LOCK"), (0x10, "RUNNING_XACTS"), (0x20, "INVALIDATIONS")];
const COMMIT_TS: Opcodes = &[(0x00, "ZEROPAGE"), (0x10, "TRUNCATE")];
const REPLORIGIN: Opcodes = &[(0x00, "SET"), (0x10, "DROP")];
const LOGICALMSG: Opcodes = &[(0x00, "MESSAGE")];
const HEAP2: Opcodes = &[
    (0x00, "REWRITE"),
    (0x10, "PRUNE"),
    (0x20, "VACUUM"),
    (0x30, "FREEZE_PAGE"),
    (0x40, "VISIBLE"),
    (0x50, "MULTI_INSERT"),
    (0x60, "LOCK_UPDATED"),
    (0x70, "NEW_CID"),
    (0xd0, "MULTI_INSERT+INIT"),
];
const HEAP2_17: Opcodes = &[
    (0x00, "REWRITE"),
    (0x10, "PRUNE_ON_ACCESS"),
    (0x20, "PRUNE_VACUUM_SCAN"),
    (0x30, "PRUNE_VACUUM_CLEANUP"),
    (0x40, "VISIBLE"),
    (0x50, "MULTI_INSERT"),
    (0x60, "LOCK_UPDATED"),
    (0x70, "NEW_CID"),
    (0xd0, "MULTI_INSERT+INIT"),
];
const HEAP: Opcodes = &[
    (0x00, "INSERT"),
    (0x10, "DELETE"),
    (0x20, "UPDATE"),
    (0x30, "TRUNCATE"),
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
    (0xd0, "REUSE_PAGE"),
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
const GIST: Opcodes = &[
    (0x00, "PAGE_UPDATE"),
    (0x10, "DELETE"),
    (0x20, "PAGE_REUSE"),
    (0x30, "PAGE_SPLIT"),
    (0x60, "PAGE_DELETE"),
];
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

const ALL: &[(u8, Opcodes)] = &[
    (rmgr::XLOG, XLOG),
    (rmgr::XACT, XACT),
    (rmgr::SMGR, SMGR),
    (rmgr::CLOG, CLOG),
    (rmgr::DBASE, DBASE),
    (rmgr::TBLSPC, TBLSPC),
    (rmgr::MULTIXACT, MULTIXACT),
    (rmgr::RELMAP, RELMAP),
    (rmgr::STANDBY, STANDBY),
    (rmgr::HEAP2, HEAP2),
    (rmgr::HEAP, HEAP),
    (rmgr::BTREE, BTREE),
    (rmgr::HASH, HASH),
    (rmgr::GIN, GIN),
    (rmgr::GIST, GIST),
    (rmgr::SEQ, SEQ),
    (rmgr::SPGIST, SPGIST),
    (rmgr::BRIN, BRIN),
    (rmgr::COMMIT_TS, COMMIT_TS),
    (rmgr::REPLORIGIN, REPLORIGIN),
    (rmgr::GENERIC, GENERIC),
    (rmgr::LOGICALMSG, LOGICALMSG),
];

/// The opcodes of each resource manager as this version has them.
pub fn all(version: PgVersion) -> impl Iterator<Item = (u8, Opcodes)> {
    ALL.iter().map(move |(rmid, opcodes)| match (version, *rmid) {
        (PgVersion::V17, rmgr::XLOG) => (*rmid, XLOG_17),
        (PgVersion::V17, rmgr::HEAP2) => (*rmid, HEAP2_17),
        _ => (*rmid, *opcodes),
    })
}

/// The opcode in `xl_info`: a transaction's end says in the highest bit whether more follows.
pub fn opcode_bits(rmid: u8, info: u8) -> u8 {
    info & if rmid == rmgr::XACT { 0x70 } else { 0xf0 }
}

pub fn opcode(version: PgVersion, rmid: u8, info: u8) -> String {
    let info = opcode_bits(rmid, info);
    let known = all(version).find(|(id, _)| *id == rmid);
    let name = known.and_then(|(_, opcodes)| opcodes.iter().find(|(opcode, _)| *opcode == info));
    name.map_or_else(|| format!("{info:#04X}"), |(_, name)| (*name).to_owned())
}
