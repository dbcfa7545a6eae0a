/*
 * physical_streams.c: nobody but the walproposer streams WAL physically.
 *
 * pg_hba.conf has no line for that.  But a walsender with a database, which is
 * there for logical decoding, takes START_REPLICATION PHYSICAL as well, and
 * would send WAL that no quorum has: an archive made of it goes wrong when
 * another compute goes on without.  The command passes no hook; the backup
 * watcher ends who streams so, and the hook on outgoing messages says why.
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "replication/slot.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "utils/memutils.h"

#include "physical_streams.h"

/* a walsender that ends a logical stream has no slot for a moment, and the walproposer's no priority when it begins */
#define ROUNDS_BEFORE_END 3

static emit_log_hook_type next_log_hook = NULL;

static bool
is_streaming(WalSndState state)
{
	return state == WALSNDSTATE_CATCHUP || state == WALSNDSTATE_STREAMING;
}

/* who decodes has a slot of a database */
static bool
decodes(pid_t pid)
{
	bool		found = false;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots && !found; i++)
	{
		ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];

		SpinLockAcquire(&slot->mutex);
		found = slot->in_use && slot->active_pid == pid && slot->data.database != InvalidOid;
		SpinLockRelease(&slot->mutex);
	}
	LWLockRelease(ReplicationSlotControlLock);
	return found;
}

/* rounds[i] counts how often walsender i was seen so without a break */
void
physical_streams_end(int *rounds)
{
	for (int i = 0; i < max_wal_senders; i++)
	{
		WalSnd	   *walsender = &WalSndCtl->walsnds[i];
		pid_t		pid;
		bool		is_foreign;

		SpinLockAcquire(&walsender->mutex);
		pid = walsender->pid;
		/* only the walproposer bears the name that gives a priority */
		is_foreign = pid != 0 && is_streaming(walsender->state) && walsender->sync_standby_priority == 0;
		SpinLockRelease(&walsender->mutex);

		rounds[i] = is_foreign && !decodes(pid) ? rounds[i] + 1 : 0;
		if (rounds[i] >= ROUNDS_BEFORE_END)
			kill(pid, SIGTERM);
	}
}

static void
explain_end(ErrorData *error)
{
	if (next_log_hook)
		next_log_hook(error);
	if (error->sqlerrcode != ERRCODE_ADMIN_SHUTDOWN || !am_walsender || MyWalSnd == NULL)
		return;
	if (!is_streaming(MyWalSnd->state) || MyWalSnd->sync_standby_priority != 0 ||
		(MyReplicationSlot != NULL && SlotIsLogical(MyReplicationSlot)))
		return;
	/* elog.c frees them when it is done */
	error->message = MemoryContextStrdup(ErrorContext, "physical replication from a varve compute is refused: its WAL may not be on a quorum yet");
	error->hint = MemoryContextStrdup(ErrorContext, "A replica endpoint follows the branch (\"varve endpoint create NAME --hot-standby\"); safekeepers put all WAL into object storage.");
}

void
physical_streams_install(void)
{
	next_log_hook = emit_log_hook;
	emit_log_hook = explain_end;
}
