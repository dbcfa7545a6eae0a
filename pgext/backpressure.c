/*
 * backpressure.c: writers slow down when the pageserver lags behind.
 *
 * The further the lag is over varve.max_lag, the longer a writer pauses for
 * each slice of work.  At one and a half times the limit it has half a
 * per cent of its speed left; it never stands still, also when the pageserver
 * is gone for good.
 *
 * Where a writer pauses, it holds no lock but those of its transaction:
 *   - before its commit record, while it can still be cancelled;
 *   - in the middle of a statement (a COPY, an index build) where stock looks
 *     at interrupts.  There is no hook for that, but a procsignal barrier:
 *     while the lag lasts the evictor sends one that makes every process close
 *     its files, and our smgr_close is where the pause is.
 *
 * Who writes no WAL is not slowed down, nor is any auxiliary process: the
 * shutdown checkpoint always runs at full speed.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "replication/walsender.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/procsignal.h"
#include "utils/timestamp.h"

#include "backpressure.h"
#include "counters.h"
#include "gucs.h"
#include "insert_lsn.h"
#include "walproposer_reply.h"

/* work between two pauses */
#define SLICE_US 5000
/* the longest pause, at an excess of half the limit */
#define PAUSE_MAX_US 1000000
#define BARRIER_INTERVAL_MS 20
/* a cancel does not wait for the end of a pause; nor does a pause outlast the lag by more */
#define PAUSE_STEP_US 50000

/*
 * The end of WAL is looked up each time: within a tenth of a second, how long
 * the evictor may sleep, a fast machine writes tens of megabytes.
 */
uint64
backpressure_lag(void)
{
	XLogRecPtr	ingested = ingest_position();
	XLogRecPtr	end;

	/* before the walproposer has told anything there is nothing to go by; a replica has none */
	if (XLogRecPtrIsInvalid(ingested))
		return 0;
	end = insert_lsn_now();
	return end > ingested ? end - ingested : 0;
}

/* grows with the square of the excess: gentle at first, hardly any speed left at half the limit over it */
static uint32
pause_for(uint64 lag)
{
	double		limit = (double) varve_max_lag * 1024 * 1024;
	double		excess;

	if (lag <= limit)
		return 0;
	excess = Min(1.0, ((double) lag - limit) / (limit / 2));
	return Max(1, (uint32) (PAUSE_MAX_US * excess * excess));
}

/* microseconds for each slice of work; 0: full speed */
static uint32
pause_now(void)
{
	return varve_max_lag == 0 ? 0 : pause_for(backpressure_lag());
}

bool
backpressure_regulate(TimestampTz now)
{
	static TimestampTz last_barrier = 0;
	uint64		lag;

	if (varve_max_lag == 0)
		return false;
	lag = backpressure_lag();
	if (pause_for(lag) > 0 && TimestampDifferenceExceeds(last_barrier, now, BARRIER_INTERVAL_MS))
	{
		last_barrier = now;
		(void) EmitProcSignalBarrier(PROCSIGNAL_BARRIER_SMGRRELEASE);
	}
	return lag > (uint64) varve_max_lag * 1024 * 1024 / 2;
}

static bool
writes_wal(void)
{
	return MyProc != NULL &&
		(TransactionIdIsValid(GetCurrentTransactionIdIfAny()) ||
		 (MyProc->statusFlags & (PROC_IN_VACUUM | PROC_IN_SAFE_IC)) != 0);
}

/* no lightweight lock is held (each holds interrupts off), nothing must not be interrupted */
static bool
may_sleep(void)
{
	return InterruptHoldoffCount == 0 && CritSectionCount == 0 && !proc_exit_inprogress &&
		IsTransactionState() && !am_walsender &&
		(MyBackendType == B_BACKEND || MyBackendType == B_BG_WORKER || MyBackendType == B_AUTOVAC_WORKER);
}

/* microseconds of a clock that nobody sets */
static int64
monotonic_now(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MICROSEC(now);
}

/* sleeps as long as the lag asks for, less if it goes down or somebody cancels */
static void
sleep_for_lag(void)
{
	int64		start = monotonic_now();

	pgstat_report_wait_start(PG_WAIT_EXTENSION);
	while (!QueryCancelPending && !ProcDiePending)
	{
		long		pause = pause_now();
		long		slept = monotonic_now() - start;

		if (slept >= pause)
			break;
		pg_usleep(Min(pause - slept, PAUSE_STEP_US));
	}
	pgstat_report_wait_end();
	count(&varve_counters->throttled, 1);
	count(&varve_counters->throttled_microseconds, monotonic_now() - start);
}

void
backpressure_pause(void)
{
	static int64 last_pause = 0;

	if (!may_sleep() || !writes_wal())
		return;
	if (monotonic_now() - last_pause < SLICE_US || pause_now() == 0)
		return;
	sleep_for_lag();
	last_pause = monotonic_now();
}

static void
before_commit(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE)
		return;
	if (!may_sleep() || !writes_wal() || pause_now() == 0)
		return;
	sleep_for_lag();
	CHECK_FOR_INTERRUPTS();
}

void
backpressure_install(void)
{
	RegisterXactCallback(before_commit, NULL);
}
