/*
 * redo_v15.c: what WAL records of PostgreSQL 15 do beyond their pages.
 */
#include "postgres.h"

#if PG_VERSION_NUM / 10000 != 15
#error "redo_v15.c is for PostgreSQL 15"
#endif

#include "access/heapam_xlog.h"
#include "access/nbtxlog.h"
#include "access/rmgr.h"
#include "access/xlogutils.h"
#include "storage/smgr.h"
#include "storage/standby.h"

#include "redo_heap.h"
#include "replica.h"

bool
redo_block(XLogReaderState *record, int block_id, BlockTag *tag)
{
	RelFileNode node;

	if (!XLogRecGetBlockTagExtended(record, block_id, &node, &tag->fork, &tag->block, NULL))
		return false;
	tag->relation = (RelationTag) {node.spcNode, node.dbNode, node.relNode};
	return true;
}

BlockNumber
redo_block_count(const BlockTag *tag)
{
	RelFileNode node = {tag->relation.spc, tag->relation.db, tag->relation.rel};
	SMgrRelation relation = smgropen(node, InvalidBackendId);

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
				case XLOG_HEAP2_PRUNE:
				case XLOG_HEAP2_VACUUM:
				case XLOG_HEAP2_FREEZE_PAGE:
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
			info &= XLOG_HEAP_OPMASK;
			return info == XLOG_HEAP2_PRUNE || info == XLOG_HEAP2_FREEZE_PAGE ||
				info == XLOG_HEAP2_VISIBLE;
		case RM_BTREE_ID:
			return info == XLOG_BTREE_DELETE;
	}
	return false;
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
