/*
 * backup_refusal.c: a copy of this data directory would be a copy of holes.
 *
 * pg_backup_start is an SQL function: its entry in the server's table of
 * built-in functions is replaced, so no grant and no alias leads around it.
 * BASE_BACKUP of the replication protocol passes no hook; a background worker
 * looks for walsenders in that state and cancels the command, and the hook on
 * outgoing messages gives the error its reason.  A walsender that does not
 * react in time (it may be blocked in a write to its client) is terminated.
 * The same worker ends walsenders that stream WAL physically
 * (physical_streams.c).
 */
#include "postgres.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/fmgrtab.h"
#include "utils/memutils.h"

#include "backup_refusal.h"
#include "physical_streams.h"

#define WATCH_INTERVAL_MS 100
#define ROUNDS_BEFORE_TERMINATION 20
/* one that ends a logical stream has no slot for a moment, and the walproposer's no priority when it begins */
#define ROUNDS_OF_STREAM 3

static const char refusal[] =
"physical backups of a varve compute are refused: its relation files are a cache with holes";
static const char refusal_hint[] =
"Use \"varve timeline export\", which writes a plain data directory at any LSN.";

static emit_log_hook_type next_log_hook = NULL;

static Datum
refuse_backup(PG_FUNCTION_ARGS)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("%s", refusal),
			 errhint("%s", refusal_hint)));
}

static void
protect_entry(FmgrBuiltin *entry, int protection)
{
	uintptr_t	page_size = sysconf(_SC_PAGESIZE);
	uintptr_t	start = (uintptr_t) entry & ~(page_size - 1);
	uintptr_t	end = TYPEALIGN(page_size, (uintptr_t) (entry + 1));

	if (mprotect((void *) start, end - start, protection) != 0)
		ereport(FATAL,
				(errmsg("varve: could not change the protection of the table of built-in functions: %m")));
}

static void
replace_builtin(const char *name)
{
	for (int i = 0; i < fmgr_nbuiltins; i++)
	{
		FmgrBuiltin *entry = unconstify(FmgrBuiltin *, &fmgr_builtins[i]);

		if (strcmp(entry->funcName, name) != 0)
			continue;
		protect_entry(entry, PROT_READ | PROT_WRITE);
		entry->func = refuse_backup;
		protect_entry(entry, PROT_READ);
		return;
	}
	ereport(FATAL,
			(errmsg("varve: this server has no function %s to refuse", name)));
}

/* the message is still the stock one for a cancelled command: say what it is about */
static void
explain_ended_backup(ErrorData *error)
{
	if (next_log_hook)
		next_log_hook(error);
	if (!am_walsender || MyWalSnd == NULL || MyWalSnd->state != WALSNDSTATE_BACKUP)
		return;
	if (error->sqlerrcode != ERRCODE_QUERY_CANCELED && error->sqlerrcode != ERRCODE_ADMIN_SHUTDOWN)
		return;
	/* elog.c frees them when it is done */
	error->message = MemoryContextStrdup(ErrorContext, refusal);
	error->hint = MemoryContextStrdup(ErrorContext, refusal_hint);
}

/* how often a walsender was seen so without a break */
typedef struct Rounds
{
	int			backup;
	int			stream;
} Rounds;

static void
look_at_walsenders(Rounds *rounds)
{
	for (int i = 0; i < max_wal_senders; i++)
	{
		WalSnd	   *walsender = &WalSndCtl->walsnds[i];
		pid_t		pid;
		WalSndState state;
		int			priority;

		SpinLockAcquire(&walsender->mutex);
		pid = walsender->pid;
		state = walsender->state;
		priority = walsender->sync_standby_priority;
		SpinLockRelease(&walsender->mutex);

		rounds[i].backup = pid != 0 && state == WALSNDSTATE_BACKUP ? rounds[i].backup + 1 : 0;
		if (rounds[i].backup > 0)
			kill(pid, rounds[i].backup > ROUNDS_BEFORE_TERMINATION ? SIGTERM : SIGINT);

		rounds[i].stream = pid != 0 && streams_physically(pid, state, priority) ? rounds[i].stream + 1 : 0;
		if (rounds[i].stream >= ROUNDS_OF_STREAM)
			kill(pid, SIGTERM);
	}
}

void
varve_backup_watcher(Datum arg)
{
	Rounds	   *rounds = MemoryContextAllocZero(TopMemoryContext, max_wal_senders * sizeof(Rounds) + 1);

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();

	for (;;)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 WATCH_INTERVAL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		look_at_walsenders(rounds);
	}
}

void
backup_refusal_install(void)
{
	BackgroundWorker worker = {0};

	replace_builtin("pg_backup_start");

	next_log_hook = emit_log_hook;
	emit_log_hook = explain_ended_backup;

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	worker.bgw_start_time = BgWorkerStart_PostmasterStart;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_name, "varve backup watcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "varve backup watcher", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "varve", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "varve_backup_watcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}
