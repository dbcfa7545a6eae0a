/* redo_heap.h: what is the same in records of heaps of all versions; after access/heapam_xlog.h */
#ifndef VARVE_REDO_HEAP_H
#define VARVE_REDO_HEAP_H

#include "access/heapam_xlog.h"
#include "access/rmgr.h"
#include "access/xlogreader.h"

static inline bool
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

/* block 0 is the new version's, block 1 the old one's if that is another */
static inline uint32
update_clears_visibility(XLogReaderState *record)
{
	uint8		flags = ((xl_heap_update *) XLogRecGetData(record))->flags;
	uint32		new_block = 1U << 0;
	uint32		old_block = XLogRecHasBlockRef(record, 1) ? 1U << 1 : new_block;

	return ((flags & XLH_UPDATE_NEW_ALL_VISIBLE_CLEARED) != 0 ? new_block : 0) |
		((flags & XLH_UPDATE_OLD_ALL_VISIBLE_CLEARED) != 0 ? old_block : 0);
}

static inline uint32
heap_clears_visibility(XLogReaderState *record)
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

#endif
