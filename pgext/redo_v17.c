/*
 * redo_v17.c: the records of PostgreSQL 17 with which queries can conflict.
 */
#include "postgres.h"

#if PG_VERSION_NUM / 10000 != 17
#error "redo_v17.c is for PostgreSQL 17"
#endif

#include "access/heapam_xlog.h"
#include "access/nbtxlog.h"
#include "access/rmgr.h"
#include "access/visibilitymapdefs.h"
#include "access/xlogutils.h"
#include "storage/standby.h"

#include "redo.h"

bool
heap2_conflicts(uint8 operation)
{
	return operation == XLOG_HEAP2_PRUNE_ON_ACCESS || operation == XLOG_HEAP2_PRUNE_VACUUM_SCAN ||
		operation == XLOG_HEAP2_PRUNE_VACUUM_CLEANUP || operation == XLOG_HEAP2_VISIBLE;
}

bool
heap2_is_of_pages_alone(uint8 operation)
{
	return heap2_conflicts(operation) || operation == XLOG_HEAP2_MULTI_INSERT ||
		operation == XLOG_HEAP2_LOCK_UPDATED;
}

/* the newest transaction of which a record that prunes removes something that older snapshots may want */
static TransactionId
pruning_horizon(const char *data, uint8 flags)
{
	TransactionId horizon = InvalidTransactionId;

	/* unaligned */
	if ((flags & XLHP_HAS_CONFLICT_HORIZON) != 0)
		memcpy(&horizon, data + SizeOfHeapPrune, sizeof(horizon));
	return horizon;
}

void
redo_resolve_conflicts(XLogReaderState *record)
{
	char	   *data = XLogRecGetData(record);
	TransactionId horizon;
	bool		is_catalog;
	RelFileLocator locator;

	if (XLogRecGetRmid(record) == RM_BTREE_ID)
	{
		horizon = ((xl_btree_delete *) data)->snapshotConflictHorizon;
		is_catalog = ((xl_btree_delete *) data)->isCatalogRel;
	}
	else if ((XLogRecGetInfo(record) & XLOG_HEAP_OPMASK) == XLOG_HEAP2_VISIBLE)
	{
		horizon = ((xl_heap_visible *) data)->snapshotConflictHorizon;
		is_catalog = (((xl_heap_visible *) data)->flags & VISIBILITYMAP_XLOG_CATALOG_REL) != 0;
	}
	else
	{
		uint8		flags = ((xl_heap_prune *) data)->flags;

		horizon = pruning_horizon(data, flags);
		is_catalog = (flags & XLHP_IS_CATALOG_REL) != 0;
	}
	XLogRecGetBlockTag(record, 0, &locator, NULL, NULL);
	if (InHotStandby && TransactionIdIsValid(horizon))
		ResolveRecoveryConflictWithSnapshot(horizon, is_catalog, locator);
}
