/*
 * What version 15 has otherwise than 17: names of fields, and the records that are laid out in another way.
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
#include "catalog/storage_xlog.h"
#include "commands/sequence.h"
#include "storage/relfilenode.h"
#include "../assertions.h"

FIELD(RelFileNode, spcNode, 0, 4);
FIELD(RelFileNode, dbNode, 4, 4);
FIELD(RelFileNode, relNode, 8, 4);
NUMBER(sizeof(RelFileNode), 12);

/* wal_decoder/src/rmgr */
FIELD(xl_xact_relfilenodes, nrels, 0, 4);
ARRAY(xl_xact_relfilenodes, xnodes, 4, 12);
FIELD(xl_clog_truncate, pageno, 0, 4);
FIELD(xl_clog_truncate, oldestXact, 4, 4);
FIELD(xl_clog_truncate, oldestXactDb, 8, 4);
FIELD(xl_commit_ts_truncate, pageno, 0, 4);
FIELD(xl_commit_ts_truncate, oldestXid, 4, 4);
FIELD(xl_smgr_create, rnode, 0, 12);
FIELD(xl_smgr_truncate, rnode, 4, 12);
FIELD(xl_seq_rec, node, 0, 12);

/* page_redo/src/rmgr/heap.rs, heap2/v15.rs */
FIELD(xl_heap_lock, locking_xid, 0, 4);
FIELD(xl_heap_prune, latestRemovedXid, 0, 4);
FIELD(xl_heap_prune, nredirected, 4, 2);
FIELD(xl_heap_prune, ndead, 6, 2);
FIELD(xl_heap_vacuum, nunused, 0, 2);
FIELD(xl_heap_freeze_page, cutoff_xid, 0, 4);
FIELD(xl_heap_freeze_page, ntuples, 4, 2);
FIELD(xl_heap_freeze_tuple, xmax, 0, 4);
FIELD(xl_heap_freeze_tuple, offset, 4, 2);
FIELD(xl_heap_freeze_tuple, t_infomask2, 6, 2);
FIELD(xl_heap_freeze_tuple, t_infomask, 8, 2);
FIELD(xl_heap_freeze_tuple, frzflags, 10, 1);
NUMBER(sizeof(xl_heap_freeze_tuple), 12);
FIELD(xl_heap_visible, cutoff_xid, 0, 4);

/* page_redo/src/rmgr: indexes */
FIELD(xl_btree_delete, latestRemovedXid, 0, 4);
FIELD(gistxlogDelete, latestRemovedXid, 0, 4);
NUMBER(SizeOfGistxlogDelete, 6);
FIELD(xl_hash_vacuum_one_page, latestRemovedXid, 0, 4);
FIELD(xl_hash_vacuum_one_page, ntuples, 4, 4);
NUMBER(SizeOfHashVacuumOnePage, 8);
FIELD(spgxlogState, myXid, 0, 4);
FIELD(spgxlogVacuumRedirect, newestRedirectXid, 4, 4);
ARRAY(spgxlogVacuumRedirect, offsets, 8, 2);
