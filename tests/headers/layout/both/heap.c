/*
 * Heap records: page_redo/src/rmgr/heap.rs, heap2, page_redo/src/vm.rs. Those of pruning are of each version.
 */
#include "postgres.h"
#include "access/heapam_xlog.h"
#include "../assertions.h"

FIELD(xl_heap_header, t_infomask2, 0, 2);
FIELD(xl_heap_header, t_infomask, 2, 2);
FIELD(xl_heap_header, t_hoff, 4, 1);
NUMBER(SizeOfHeapHeader, 5);

FIELD(xl_heap_insert, offnum, 0, 2);
FIELD(xl_heap_insert, flags, 2, 1);

FIELD(xl_heap_delete, xmax, 0, 4);
FIELD(xl_heap_delete, offnum, 4, 2);
FIELD(xl_heap_delete, infobits_set, 6, 1);
FIELD(xl_heap_delete, flags, 7, 1);

FIELD(xl_heap_update, old_xmax, 0, 4);
FIELD(xl_heap_update, old_offnum, 4, 2);
FIELD(xl_heap_update, old_infobits_set, 6, 1);
FIELD(xl_heap_update, flags, 7, 1);
FIELD(xl_heap_update, new_xmax, 8, 4);
FIELD(xl_heap_update, new_offnum, 12, 2);

FIELD(xl_heap_confirm, offnum, 0, 2);
FIELD(xl_heap_inplace, offnum, 0, 2);

FIELD(xl_heap_lock, offnum, 4, 2);
FIELD(xl_heap_lock, infobits_set, 6, 1);
FIELD(xl_heap_lock, flags, 7, 1);
FIELD(xl_heap_lock_updated, xmax, 0, 4);
FIELD(xl_heap_lock_updated, offnum, 4, 2);
FIELD(xl_heap_lock_updated, infobits_set, 6, 1);
FIELD(xl_heap_lock_updated, flags, 7, 1);

FIELD(xl_heap_visible, flags, 4, 1);

FIELD(xl_heap_multi_insert, flags, 0, 1);
FIELD(xl_heap_multi_insert, ntuples, 2, 2);
ARRAY(xl_heap_multi_insert, offsets, 4, 2);
/* Each begins at an even place; the tuple without its fixed header follows. */
FIELD(xl_multi_insert_tuple, datalen, 0, 2);
FIELD(xl_multi_insert_tuple, t_infomask2, 2, 2);
FIELD(xl_multi_insert_tuple, t_infomask, 4, 2);
FIELD(xl_multi_insert_tuple, t_hoff, 6, 1);
NUMBER(SizeOfMultiInsertTuple, 7);

/* One bit for all kinds of records. */
NUMBER(XLH_INSERT_ALL_VISIBLE_CLEARED, XLH_UPDATE_OLD_ALL_VISIBLE_CLEARED);
NUMBER(XLH_DELETE_ALL_VISIBLE_CLEARED, XLH_UPDATE_OLD_ALL_VISIBLE_CLEARED);
