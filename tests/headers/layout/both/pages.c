/*
 * What pages of all relations share, tuples of heaps and indexes, and the pages of maps and SLRUs:
 * pg_format/src/page.rs, page_redo/src/page, slru.rs, vm.rs, mask.rs, rmgr/heap_tuple.rs, rmgr/index_tuple.rs.
 * Fields of bits are in bits.c.
 *
 * Not to be checked here: how the visibility map counts (visibilitymap.c), how pg_xact and pg_multixact lay out
 * their pages (clog.c, multixact.c), and the special space of a sequence (sequence.c).
 */
#include "postgres.h"
#include "access/htup_details.h"
#include "access/itup.h"
#include "access/multixact.h"
#include "storage/bufpage.h"
#include "storage/fsm_internals.h"
#include "storage/itemptr.h"
#include "../assertions.h"

/* pd_lsn has its high half first. */
FIELD(PageHeaderData, pd_lsn, 0, 8);
FIELD(PageXLogRecPtr, xlogid, 0, 4);
FIELD(PageXLogRecPtr, xrecoff, 4, 4);
FIELD(PageHeaderData, pd_checksum, 8, 2);
FIELD(PageHeaderData, pd_flags, 10, 2);
FIELD(PageHeaderData, pd_lower, 12, 2);
FIELD(PageHeaderData, pd_upper, 14, 2);
FIELD(PageHeaderData, pd_special, 16, 2);
FIELD(PageHeaderData, pd_pagesize_version, 18, 2);
FIELD(PageHeaderData, pd_prune_xid, 20, 4);
ARRAY(PageHeaderData, pd_linp, 24, 4);
NUMBER(SizeOfPageHeaderData, 24);
NUMBER(MAXALIGN(SizeOfPageHeaderData), 24);
NUMBER(sizeof(ItemIdData), 4);

/* Block numbers inside of pages and records have their high half first. */
FIELD(BlockIdData, bi_hi, 0, 2);
FIELD(BlockIdData, bi_lo, 2, 2);
FIELD(ItemPointerData, ip_blkid, 0, 4);
FIELD(ItemPointerData, ip_posid, 4, 2);
NUMBER(sizeof(ItemPointerData), 6);
NUMBER(sizeof(OffsetNumber), 2);
NUMBER(InvalidOffsetNumber, 0);

FIELD(HeapTupleHeaderData, t_choice.t_heap.t_xmin, 0, 4);
FIELD(HeapTupleHeaderData, t_choice.t_heap.t_xmax, 4, 4);
FIELD(HeapTupleHeaderData, t_choice.t_heap.t_field3.t_cid, 8, 4);
FIELD(HeapTupleHeaderData, t_choice.t_heap.t_field3.t_xvac, 8, 4);
FIELD(HeapTupleHeaderData, t_ctid, 12, 6);
FIELD(HeapTupleHeaderData, t_infomask2, 18, 2);
FIELD(HeapTupleHeaderData, t_infomask, 20, 2);
FIELD(HeapTupleHeaderData, t_hoff, 22, 1);
ARRAY(HeapTupleHeaderData, t_bits, 23, 1);
NUMBER(SizeofHeapTupleHeader, 23);

FIELD(IndexTupleData, t_tid, 0, 6);
FIELD(IndexTupleData, t_info, 6, 2);
NUMBER(sizeof(IndexTupleData), 8);

FIELD(FSMPageData, fp_next_slot, 0, 4);
ARRAY(FSMPageData, fp_nodes, 4, 1);
NUMBER(NodesPerPage, 8192 - 28);
NUMBER(SlotsPerFSMPage, 4069);
/* vm.rs counts two levels above the leaves. */
NUMBER((uint64) SlotsPerFSMPage * SlotsPerFSMPage * SlotsPerFSMPage > MaxBlockNumber, true);
NUMBER((uint64) SlotsPerFSMPage * SlotsPerFSMPage > MaxBlockNumber, false);

/* slru.rs */
NUMBER(sizeof(MultiXactOffset), 4);
NUMBER(sizeof(MultiXactId), 4);
