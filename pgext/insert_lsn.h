/* insert_lsn.h: where WAL ends */
#ifndef VARVE_INSERT_LSN_H
#define VARVE_INSERT_LSN_H

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogrecovery.h"

/*
 * The insert position, never one that points just behind a page header: the
 * last record ended before the header, and neither a flush nor a pageserver
 * ever gets further than that.  On a replica, where nobody inserts, how far
 * WAL is replayed.
 */
static inline XLogRecPtr
insert_lsn_now(void)
{
	XLogRecPtr	lsn;

	if (RecoveryInProgress())
		return GetXLogReplayRecPtr(NULL);
	lsn = GetXLogInsertRecPtr();
	if (XLogSegmentOffset(lsn, wal_segment_size) == SizeOfXLogLongPHD)
		return lsn - SizeOfXLogLongPHD;
	if (lsn % XLOG_BLCKSZ == SizeOfXLogShortPHD)
		return lsn - SizeOfXLogShortPHD;
	return lsn;
}

#endif
