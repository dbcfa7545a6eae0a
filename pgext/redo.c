/*
 * redo.c: what WAL records do beyond their pages.
 *
 * A record that is not known here is left to stock.
 */
#include "postgres.h"

#include "access/heapam_xlog.h"
#include "access/nbtxlog.h"
#include "access/rmgr.h"
#include "storage/smgr.h"

#include "redo.h"
#include "server.h"

bool
redo_block(XLogReaderState *record, int block_id, BlockTag *tag)
{
	StockRelation relation;

	if (!XLogRecGetBlockTagExtended(record, block_id, &relation, &tag->fork, &tag->block, NULL))
		return false;
	tag->relation = tag_of_stock(relation);
	return true;
}

BlockNumber
redo_block_count(const BlockTag *tag)
{
	SMgrRelation relation = smgropen(stock_of_tag(tag->relation), OF_NO_BACKEND);

	smgrcreate(relation, tag->fork, true);
	return smgrnblocks(relation, tag->fork);
}

static bool
heap_is_of_pages_alone(uint8 operation)
{
	switch (operation)
	{
		case XLOG_HEAP_INSERT:
		case XLOG_HEAP_DELETE:
		case XLOG_HEAP_UPDATE:
		case XLOG_HEAP_HOT_UPDATE:
		case XLOG_HEAP_CONFIRM:
		case XLOG_HEAP_LOCK:
			return true;
	}
	return false;
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
			return heap2_is_of_pages_alone(info & XLOG_HEAP_OPMASK);
		case RM_BTREE_ID:
			return info != XLOG_BTREE_REUSE_PAGE;
	}
	return false;
}

bool
redo_conflicts(XLogReaderState *record)
{
	uint8		info = XLogRecGetInfo(record) & ~XLR_INFO_MASK;

	switch (XLogRecGetRmid(record))
	{
		case RM_HEAP2_ID:
			return heap2_conflicts(info & XLOG_HEAP_OPMASK);
		case RM_BTREE_ID:
			return info == XLOG_BTREE_DELETE;
	}
	return false;
}

/* block 0 is the new version's, block 1 the old one's if that is another */
static uint32
update_clears_visibility(XLogReaderState *record)
{
	uint8		flags = ((xl_heap_update *) XLogRecGetData(record))->flags;
	uint32		new_block = 1U << 0;
	uint32		old_block = XLogRecHasBlockRef(record, 1) ? 1U << 1 : new_block;

	return ((flags & XLH_UPDATE_NEW_ALL_VISIBLE_CLEARED) != 0 ? new_block : 0) |
		((flags & XLH_UPDATE_OLD_ALL_VISIBLE_CLEARED) != 0 ? old_block : 0);
}

uint32
redo_clears_visibility(XLogReaderState *record)
{
	char	   *data = XLogRecGetData(record);
	uint8		operation = XLogRecGetInfo(record) & XLOG_HEAP_OPMASK;
	bool		clears = false;

	if (XLogRecGetRmid(record) == RM_HEAP_ID)
		switch (operation)
		{
			case XLOG_HEAP_INSERT:
				clears = (((xl_heap_insert *) data)->flags & XLH_INSERT_ALL_VISIBLE_CLEARED) != 0;
				break;
			case XLOG_HEAP_DELETE:
				clears = (((xl_heap_delete *) data)->flags & XLH_DELETE_ALL_VISIBLE_CLEARED) != 0;
				break;
			case XLOG_HEAP_LOCK:
				clears = (((xl_heap_lock *) data)->flags & XLH_LOCK_ALL_FROZEN_CLEARED) != 0;
				break;
			case XLOG_HEAP_UPDATE:
			case XLOG_HEAP_HOT_UPDATE:
				return update_clears_visibility(record);
		}
	else if (XLogRecGetRmid(record) == RM_HEAP2_ID)
		switch (operation)
		{
			case XLOG_HEAP2_MULTI_INSERT:
				clears = (((xl_heap_multi_insert *) data)->flags & XLH_INSERT_ALL_VISIBLE_CLEARED) != 0;
				break;
			case XLOG_HEAP2_LOCK_UPDATED:
				clears = (((xl_heap_lock_updated *) data)->flags & XLH_LOCK_ALL_FROZEN_CLEARED) != 0;
				break;
		}
	return clears ? 1U << 0 : 0;
}
