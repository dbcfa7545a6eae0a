/*
 * ingest_position.c: how far the pageserver has ingested this compute's WAL.
 *
 * The walproposer says it in its standby replies as `apply`; the walsender
 * that it is connected to keeps it in shared memory.  That walsender is the
 * one with a synchronous priority: its application_name is reserved.
 */
#include "postgres.h"

#include "port/atomics.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/shmem.h"
#include "storage/spin.h"

#include "ingest_position.h"

static pg_atomic_uint64 *published = NULL;

void
ingest_position_request_shmem(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(pg_atomic_uint64)));
}

void
ingest_position_start_shmem(void)
{
	bool		found;

	published = ShmemInitStruct("varve ingest position", sizeof(pg_atomic_uint64), &found);
	if (!found)
		pg_atomic_init_u64(published, InvalidXLogRecPtr);
}

XLogRecPtr
ingest_position_look(void)
{
	XLogRecPtr	furthest = pg_atomic_read_u64(published);

	for (int i = 0; i < max_wal_senders; i++)
	{
		WalSnd	   *walsender = &WalSndCtl->walsnds[i];

		SpinLockAcquire(&walsender->mutex);
		if (walsender->pid != 0 && walsender->sync_standby_priority > 0 &&
			walsender->state == WALSNDSTATE_STREAMING)
			furthest = Max(furthest, walsender->apply);
		SpinLockRelease(&walsender->mutex);
	}
	pg_atomic_write_u64(published, furthest);
	return furthest;
}

XLogRecPtr
ingest_position(void)
{
	return published == NULL ? InvalidXLogRecPtr : pg_atomic_read_u64(published);
}
