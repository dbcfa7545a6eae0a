/*
 * redo_v17.c: what WAL records of PostgreSQL 17 do beyond their pages.
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
#include "storage/smgr.h"
#include "storage/standby.h"

#include "redo_heap.h"
#include "replica.h"

bool
redo_block(XLogReaderState *record, int block_id, BlockTag *tag)
{
	RelFileLocator locator;

	if (!XLogRecGetBlockTagExtended(record, block_id, &locator, &tag->fork, &tag->block, NULL))
		return false;
	tag->relation = (RelationTag) {locator.spcOid, locator.dbOid, locator.relNumber};
	return true;
}

BlockNumber
redo_block_count(const BlockTag *tag)
{
	RelFileLocator locator = {tag->relation.spc, tag->relation.db, tag->relation.rel};
	SMgrRelation relation = smgropen(locator, INVALID_PROC_NUMBER);

	smgrcreate(relation, tag->fork, true);
	return smgrnblocks(relation, tag->fork);
}

bool
redo_is_of_pages_alone(XLogReaderState *record)
{
	uint8		info = XLogRecGetInfo(record) & ~XLR_INFO_MASK;

	switch (XLogRecGetRmid(record))
	{
		case RM_HEAP_ID:
			return heap_is_of_pages_alone(info & XLOG_HEAP_OPMASK);
		case RM_HEAP2_ID:
			switch (info & XLOG_HEAP_OPMASK)
			{
				case XLOG_HEAP2_PRUNE_ON_ACCESS:
				case XLOG_HEAP2_PRUNE_VACUUM_SCAN:
				case XLOG_HEAP2_PRUNE_VACUUM_CLEANUP:
				case XLOG_HEAP2_VISIBLE:
				case XLOG_HEAP2_MULTI_INSERT:
				case XLOG_HEAP2_LOCK_UPDATED:
					return true;
			}
			return false;
		case RM_BTREE_ID:
			return info != XLOG_BTREE_REUSE_PAGE;
	}
	return false;
}

uint32
redo_clears_visibility(XLogReaderState *record)
{
	return heap_clears_visibility(record);
}

bool
redo_conflicts(XLogReaderState *record)
{
	uint8		info = XLogRecGetInfo(record) & ~XLR_INFO_MASK;

	switch (XLogRecGetRmid(record))
	{
		case RM_HEAP2_ID:
			switch (info & XLOG_HEAP_OPMASK)
			{
				case XLOG_HEAP2_PRUNE_ON_ACCESS:
				case XLOG_HEAP2_PRUNE_VACUUM_SCAN:
				case XLOG_HEAP2_PRUNE_VACUUM_CLEANUP:
				case XLOG_HEAP2_VISIBLE:
					return true;
			}
			return false;
		case RM_BTREE_ID:
			return info == XLOG_BTREE_DELETE;
	}
	return false;
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
