/*
 * redo_v15.c: the records of PostgreSQL 15 with which queries can conflict.
 */
#include "postgres.h"

#if PG_VERSION_NUM / 10000 != 15
#error "redo_v15.c is for PostgreSQL 15"
#endif

#include "access/heapam_xlog.h"
#include "access/nbtxlog.h"
#include "access/rmgr.h"
#include "access/xlogutils.h"
#include "storage/standby.h"

#include "redo.h"

bool
heap2_conflicts(uint8 operation)
{
	return operation == XLOG_HEAP2_PRUNE || operation == XLOG_HEAP2_FREEZE_PAGE ||
		operation == XLOG_HEAP2_VISIBLE;
}

bool
heap2_is_of_pages_alone(uint8 operation)
{
	return heap2_conflicts(operation) || operation == XLOG_HEAP2_VACUUM ||
		operation == XLOG_HEAP2_MULTI_INSERT || operation == XLOG_HEAP2_LOCK_UPDATED;
}

/* the newest transaction of which the record removes something that older snapshots may want */
static TransactionId
conflict_horizon(XLogReaderState *record)
{
	char	   *data = XLogRecGetData(record);
	TransactionId horizon;

	if (XLogRecGetRmid(record) == RM_BTREE_ID)
		return ((xl_btree_delete *) data)->latestRemovedXid;
	switch (XLogRecGetInfo(record) & XLOG_HEAP_OPMASK)
	{
		case XLOG_HEAP2_PRUNE:
			return ((xl_heap_prune *) data)->latestRemovedXid;
		case XLOG_HEAP2_VISIBLE:
			return ((xl_heap_visible *) data)->cutoff_xid;
	}
	horizon = ((xl_heap_freeze_page *) data)->cutoff_xid;
	TransactionIdRetreat(horizon);
	return horizon;
}

void
redo_resolve_conflicts(XLogReaderState *record)
{
	RelFileNode node;

	XLogRecGetBlockTag(record, 0, &node, NULL, NULL);
	if (InHotStandby)
		ResolveRecoveryConflictWithSnapshot(conflict_horizon(record), node);
}
