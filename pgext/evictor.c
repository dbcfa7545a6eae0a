/*
 * evictor.c: the background worker that keeps the cache within its size.
 *
 * One process owns everything that has to do with time: grace periods, the
 * clock of the eviction, the look at the disk, the lag of the pageserver.  It
 * never reads a page, never waits for the network and absorbs interrupts
 * between any two chunks, so that DROP DATABASE does not wait for it
 * (docs/sparse-cache.md D1).
 *
 * At a managed stop it is ended before the shutdown checkpoint begins: the
 * last moment at which images of free space maps can be logged, slots and
 * statistics as well.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/guc.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "backpressure.h"
#include "cache_log.h"
#include "disk_space.h"
#include "eviction.h"
#include "evictor.h"
#include "fsm_images.h"
#include "grace.h"
#include "gucs.h"
#include "kept_files.h"
#include "replica.h"
#include "server.h"
#include "walproposer_reply.h"

/* with nothing to do the disk and the positions are looked at so often */
#define IDLE_WAIT_MS 100
/* while writers may have to slow down */
#define LAG_WAIT_MS 10

/* what a round leaves behind */
typedef enum Outlook
{
	QUIET,
	/* the pageserver lags */
	LAGGING,
	/* there is more to evict, and it can be */
	MORE
} Outlook;

typedef struct EvictorState
{
	/* the process number of the worker plus one; 0: it does not run */
	pg_atomic_uint32 process;
} EvictorState;

static EvictorState *state = NULL;

void
evictor_request_shmem(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(EvictorState)));
}

void
evictor_start_shmem(void)
{
	bool		found;

	state = ShmemInitStruct("varve evictor", sizeof(EvictorState), &found);
	if (!found)
		pg_atomic_init_u32(&state->process, 0);
}

void
evictor_wake(void)
{
	uint32		process = pg_atomic_read_u32(&state->process);

	/* if the worker has just ended, somebody else wakes once for nothing */
	if (process != 0)
		SetLatch(&ProcGlobal->allProcs[process - 1].procLatch);
}

static void
note_end(int code, Datum arg)
{
	pg_atomic_write_u32(&state->process, 0);
}

/* nothing on a replica has to be covered before it may go, and nothing can be logged */
static Outlook
one_round_of_replica(TimestampTz now)
{
	uint64		excess = disk_space_excess_blocks();
	uint64		evicted = excess > 0 ? eviction_run(excess, InvalidXLogRecPtr) : 0;

	cache_log_tick(now);
	return evicted > 0 && evicted < excess ? MORE : QUIET;
}

static Outlook
one_round(void)
{
	TimestampTz now = GetCurrentTimestamp();
	XLogRecPtr	ingested;
	uint64		excess;
	uint64		evicted = 0;
	bool		lagging;

	replica_refuse_promotion();
	if (RecoveryInProgress())
		return one_round_of_replica(now);
	walproposer_reply_look();
	ingested = ingest_position();
	grace_tick(now);
	lagging = backpressure_regulate(now);
	fsm_images_after_checkpoint();
	eviction_make_recyclable(ingested);
	excess = disk_space_excess_blocks();
	if (excess > 0)
		evicted = eviction_run(excess, ingested);
	cache_log_tick(now);
	if (evicted > 0 && evicted < excess)
		return MORE;
	return lagging ? LAGGING : QUIET;
}

static long
wait_ms(Outlook outlook)
{
	return Max(1, Min(outlook == LAGGING ? LAG_WAIT_MS : IDLE_WAIT_MS, varve_grace_interval));
}

/* with this exit code a worker that somebody terminated is started again, unless the server is stopping */
static void
stop_in_order(void)
{
	if (!RecoveryInProgress())
	{
		fsm_images_before_stop();
		kept_files_before_stop();
	}
	cache_log_now();
	proc_exit(1);
}

void
varve_evictor(Datum arg)
{
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();

	/* for the pins of free space map pages */
	CurrentResourceOwner = ResourceOwnerCreate(NULL, "varve evictor");
	before_shmem_exit(note_end, (Datum) 0);
	pg_atomic_write_u32(&state->process, my_process_number() + 1);
	grace_init();
	if (!RecoveryInProgress())
		kept_files_at_start();

	for (;;)
	{
		Outlook		outlook = one_round();

		if (outlook != MORE)
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 wait_ms(outlook), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ShutdownRequestPending)
			stop_in_order();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	}
}

void
evictor_install(void)
{
	BackgroundWorker worker = {0};

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	/* a replica stays there; on a primary it is when the server opens */
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_name, "varve evictor", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "varve evictor", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "varve", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "varve_evictor", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}
