/*
 * grace.c: grace periods over running transactions, as in RCU.
 *
 * A page that comes back from the pageserver lacks what is not in WAL: command
 * ids, speculative tokens, cycle ids of vacuums, pages of an index build that
 * are logged at its end.  All of that matters only to transactions that run,
 * VACUUM included.  So a page may be dropped once everyone who ran when it was
 * written has ended (design and proof: docs/sparse-cache.md B1-B5).
 *
 *   - L0 is read first, the running transactions after it: one that starts in
 *     between is waited for, not missed.
 *   - A write counts as covered only if W < L0, strictly.
 *   - "Running" is a process with a local transaction id.  Prepared
 *     transactions have no process and run no more commands.
 *   - Periods overlap, one begins every varve.grace_interval.  They end in the
 *     order in which they begin: who keeps one from ending was running when
 *     the next began, too.
 */
#include "postgres.h"

#include "storage/proc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "grace.h"
#include "gucs.h"
#include "insert_lsn.h"
#include "server.h"

/*
 * More pending periods bring nothing: while one transaction keeps all of them
 * from ending it would keep a further one, too.
 */
#define PENDING_MAX 64
/* so long does a chunk find the very period that covered it first; after that an older one's P serves */
#define ENDED_MAX 1024

typedef struct PendingPeriod
{
	XLogRecPtr	begun;			/* L0 */
	LocalTransactionId *running;	/* by process number; invalid: none, or ended */
} PendingPeriod;

typedef struct EndedPeriod
{
	XLogRecPtr	begun;			/* L0 */
	XLogRecPtr	ended;			/* P */
} EndedPeriod;

/* both are rings, oldest first */
static PendingPeriod pending[PENDING_MAX];
static int	first_pending = 0;
static int	pending_count = 0;
static EndedPeriod ended[ENDED_MAX];
static int	first_ended = 0;
static int	ended_count = 0;

static TimestampTz last_begun_at = 0;
static XLogRecPtr last_begun = InvalidXLogRecPtr;

void
grace_init(void)
{
	for (int i = 0; i < PENDING_MAX; i++)
		pending[i].running = MemoryContextAllocZero(TopMemoryContext,
													sizeof(LocalTransactionId) * ProcGlobal->allProcCount);
}

/* read without a lock: the transaction that a page's writer runs in was visible before the page was written */
static LocalTransactionId
running_in(uint32 process)
{
	volatile PGPROC *proc = &ProcGlobal->allProcs[process];

	return proc->pid != 0 ? local_xid_of(proc) : InvalidLocalTransactionId;
}

static void
begin_period(XLogRecPtr insert_lsn)
{
	PendingPeriod *period = &pending[(first_pending + pending_count) % PENDING_MAX];

	period->begun = insert_lsn;
	pg_memory_barrier();
	for (uint32 process = 0; process < ProcGlobal->allProcCount; process++)
		period->running[process] = running_in(process);
	pending_count++;
}

static bool
has_ended(PendingPeriod *period)
{
	bool		all = true;

	for (uint32 process = 0; process < ProcGlobal->allProcCount; process++)
	{
		if (!LocalTransactionIdIsValid(period->running[process]))
			continue;
		if (running_in(process) == period->running[process])
			all = false;
		else
			period->running[process] = InvalidLocalTransactionId;
	}
	return all;
}

static void
note_ended(XLogRecPtr begun)
{
	EndedPeriod *period;

	if (ended_count == ENDED_MAX)
		first_ended = (first_ended + 1) % ENDED_MAX;
	else
		ended_count++;
	period = &ended[(first_ended + ended_count - 1) % ENDED_MAX];
	period->begun = begun;
	/* after the last of them was seen to have ended */
	pg_memory_barrier();
	period->ended = insert_lsn_now();
}

void
grace_tick(TimestampTz now)
{
	XLogRecPtr	insert_lsn = insert_lsn_now();

	while (pending_count > 0 && has_ended(&pending[first_pending]))
	{
		note_ended(pending[first_pending].begun);
		first_pending = (first_pending + 1) % PENDING_MAX;
		pending_count--;
	}

	/* no write can have come to be coverable while no WAL was written */
	if (pending_count == PENDING_MAX || insert_lsn == last_begun ||
		!TimestampDifferenceExceeds(last_begun_at, now, varve_grace_interval))
		return;
	begin_period(insert_lsn);
	last_begun = insert_lsn;
	last_begun_at = now;
}

static EndedPeriod *
ended_period(int index)
{
	return &ended[(first_ended + index) % ENDED_MAX];
}

/* the number of periods, oldest first, of which `below` holds; it holds of none behind one where it does not */
static int
partition_point(bool (*below) (const EndedPeriod *period, XLogRecPtr lsn), XLogRecPtr lsn)
{
	int			low = 0;
	int			high = ended_count;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (below(ended_period(middle), lsn))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool
is_ingested(const EndedPeriod *period, XLogRecPtr ingested)
{
	return period->ended <= ingested;
}

static bool
does_not_cover(const EndedPeriod *period, XLogRecPtr last_write)
{
	return period->begun <= last_write;
}

XLogRecPtr
grace_covered_before(XLogRecPtr ingested)
{
	int			periods = partition_point(is_ingested, ingested);

	return periods > 0 ? ended_period(periods - 1)->begun : InvalidXLogRecPtr;
}

XLogRecPtr
grace_end_of(XLogRecPtr last_write)
{
	return ended_period(partition_point(does_not_cover, last_write))->ended;
}

int
grace_pending(void)
{
	return pending_count;
}
