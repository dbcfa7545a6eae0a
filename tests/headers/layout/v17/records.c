/*
 * What version 17 has otherwise than 15: names of fields, the records that are laid out in another way, and what
 * is new.
 */
#include "postgres.h"
#include "access/clog.h"
#include "access/commit_ts.h"
#include "access/gistxlog.h"
#include "access/hash_xlog.h"
#include "access/heapam_xlog.h"
#include "access/nbtxlog.h"
#include "access/spgxlog.h"
#include "access/xact.h"
#include "access/xlogrecord.h"
#include "catalog/pg_control.h"
#include "catalog/storage_xlog.h"
#include "commands/sequence.h"
#include "storage/relfilelocator.h"
#include "../assertions.h"

FIELD(RelFileLocator, spcOid, 0, 4);
FIELD(RelFileLocator, dbOid, 4, 4);
FIELD(RelFileLocator, relNumber, 8, 4);
NUMBER(sizeof(RelFileLocator), 12);

/* pg_format/src/checkpoint.rs */
FIELD(CheckPoint, wal_level, 20, 4);

/* wal_decoder/src/rmgr; records that make a page of an SLRU hold its number alone, as wide as here. */
FIELD(xl_xact_relfilelocators, nrels, 0, 4);
ARRAY(xl_xact_relfilelocators, xlocators, 4, 12);
FIELD(xl_clog_truncate, pageno, 0, 8);
FIELD(xl_clog_truncate, oldestXact, 8, 4);
FIELD(xl_clog_truncate, oldestXactDb, 12, 4);
FIELD(xl_commit_ts_truncate, pageno, 0, 8);
FIELD(xl_commit_ts_truncate, oldestXid, 8, 4);
FIELD(xl_smgr_create, rlocator, 0, 12);
FIELD(xl_smgr_truncate, rlocator, 4, 12);
FIELD(xl_seq_rec, locator, 0, 12);

/* page_redo/src/rmgr/heap.rs, heap2/v17.rs */
FIELD(xl_heap_lock, xmax, 0, 4);
FIELD(xl_heap_prune, reason, 0, 1);
FIELD(xl_heap_prune, flags, 1, 1);
NUMBER(SizeOfHeapPrune, 2);
FIELD(xlhp_freeze_plans, nplans, 0, 2);
ARRAY(xlhp_freeze_plans, plans, 4, 12);
FIELD(xlhp_freeze_plan, xmax, 0, 4);
FIELD(xlhp_freeze_plan, t_infomask2, 4, 2);
FIELD(xlhp_freeze_plan, t_infomask, 6, 2);
FIELD(xlhp_freeze_plan, frzflags, 8, 1);
FIELD(xlhp_freeze_plan, ntuples, 10, 2);
NUMBER(sizeof(xlhp_freeze_plan), 12);
FIELD(xlhp_prune_items, ntargets, 0, 2);
ARRAY(xlhp_prune_items, data, 2, 2);
FIELD(xl_heap_visible, snapshotConflictHorizon, 0, 4);

/* page_redo/src/rmgr/heap_vm.rs: the same ids in all records of one heap page and its map page, since 17.11. */
NUMBER(HEAP_DELETE_BLKREF_HEAP, HEAP_INSERT_BLKREF_HEAP);
NUMBER(HEAP_DELETE_BLKREF_VM, HEAP_INSERT_BLKREF_VM);
NUMBER(HEAP_MULTI_INSERT_BLKREF_HEAP, HEAP_INSERT_BLKREF_HEAP);
NUMBER(HEAP_MULTI_INSERT_BLKREF_VM, HEAP_INSERT_BLKREF_VM);
NUMBER(HEAP_LOCK_BLKREF_HEAP, HEAP_INSERT_BLKREF_HEAP);
NUMBER(HEAP_LOCK_BLKREF_VM, HEAP_INSERT_BLKREF_VM);

/* page_redo/src/rmgr: indexes; a flag that says whether the table is a catalog comes before the offsets. */
FIELD(xl_btree_delete, snapshotConflictHorizon, 0, 4);
FIELD(gistxlogDelete, snapshotConflictHorizon, 0, 4);
ARRAY(gistxlogDelete, offsets, 8, 2);
FIELD(xl_hash_vacuum_one_page, snapshotConflictHorizon, 0, 4);
FIELD(xl_hash_vacuum_one_page, ntuples, 4, 2);
ARRAY(xl_hash_vacuum_one_page, offsets, 8, 2);
FIELD(spgxlogState, redirectXid, 0, 4);
FIELD(spgxlogVacuumRedirect, snapshotConflictHorizon, 4, 4);
ARRAY(spgxlogVacuumRedirect, offsets, 10, 2);
