/*
 * walproposer_reply.c: what the walproposer has told in its standby replies.
 *
 * As `flush` it says what a quorum of safekeepers has on disk, as `apply` how
 * far the pageserver has ingested this compute's WAL, and in place of the time of the reply, when a quorum of safekeepers last
 * followed this compute.  The walsender that it is connected to keeps both in
 * shared memory.  That walsender is the one with a synchronous priority: its
 * application_name is reserved.
 */
#include "postgres.h"

#include "access/xlogrecovery.h"
#include "port/atomics.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/shmem.h"
#include "storage/spin.h"

#include "gucs.h"
#include "walproposer_reply.h"

typedef struct Published
{
	pg_atomic_uint64 ingested;
	pg_atomic_uint64 followed;
	pg_atomic_uint64 committed;
} Published;

static Published *published = NULL;

void
walproposer_reply_request_shmem(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(Published)));
}

void
walproposer_reply_start_shmem(void)
{
	bool		found;

	published = ShmemInitStruct("varve walproposer reply", sizeof(Published), &found);
	if (!found)
	{
		pg_atomic_init_u64(&published->ingested, InvalidXLogRecPtr);
		pg_atomic_init_u64(&published->followed, 0);
		pg_atomic_init_u64(&published->committed, InvalidXLogRecPtr);
	}
}

/* several look at the same time */
static void
advance(pg_atomic_uint64 *position, XLogRecPtr to)
{
	uint64		current = pg_atomic_read_u64(position);

	while (current < to && !pg_atomic_compare_exchange_u64(position, &current, to))
		;
}

void
walproposer_reply_look(void)
{
	XLogRecPtr	furthest = InvalidXLogRecPtr;
	XLogRecPtr	committed = InvalidXLogRecPtr;
	TimestampTz followed = 0;

	for (int i = 0; i < max_wal_senders; i++)
	{
		WalSnd	   *walsender = &WalSndCtl->walsnds[i];

		SpinLockAcquire(&walsender->mutex);
		if (walsender->pid != 0 && walsender->sync_standby_priority > 0)
		{
			if (walsender->state == WALSNDSTATE_STREAMING)
				furthest = Max(furthest, walsender->apply);
			committed = Max(committed, walsender->flush);
			if (walsender->replyTime != 0)
				followed = walsender->replyTime;
		}
		SpinLockRelease(&walsender->mutex);
	}
	advance(&published->ingested, furthest);
	advance(&published->committed, committed);
	/* not the latest ever: the clock may have been set back */
	if (followed != 0)
		pg_atomic_write_u64(&published->followed, (uint64) followed);
}

XLogRecPtr
ingest_position(void)
{
	return published == NULL ? InvalidXLogRecPtr : pg_atomic_read_u64(&published->ingested);
}

bool
quorum_followed_since(TimestampTz time, TimestampTz now)
{
	TimestampTz followed = published == NULL ? 0 : (TimestampTz) pg_atomic_read_u64(&published->followed);

	return followed != 0 && followed > time && followed <= now;
}

bool
quorum_has(XLogRecPtr lsn)
{
	/* a quorum had all of it before this server started */
	if (lsn <= varve_start_lsn)
		return true;
	if (published == NULL)
		return false;
	if (lsn <= pg_atomic_read_u64(&published->committed))
		return true;
	/* nor has it replayed anything else, if it was a replica */
	if (lsn <= GetXLogReplayRecPtr(NULL))
		return true;
	walproposer_reply_look();
	return lsn <= pg_atomic_read_u64(&published->committed);
}
