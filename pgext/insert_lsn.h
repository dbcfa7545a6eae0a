/* insert_lsn.h: where WAL ends */
#ifndef VARVE_INSERT_LSN_H
#define VARVE_INSERT_LSN_H

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogrecovery.h"

/* what others write while a page goes from the log into its file */
#define RECENT_WAL (16 * 1024 * 1024)

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

/*
 * Whether a record may have ended there a moment ago.  Pages of unlogged GiST
 * indexes have numbers in place of LSNs, which grow by one with each change: a
 * bound from below alone they pass one day.
 */
static inline bool
lsn_is_recent(XLogRecPtr lsn)
{
	XLogRecPtr	now = insert_lsn_now();

	return lsn >= wal_segment_size && lsn <= now && now - lsn < RECENT_WAL;
}

#endif
