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

#include "miscadmin.h"
#include "replication/slot.h"
#include "replication/walsender.h"
#include "utils/memutils.h"

#include "physical_streams.h"

static const char refusal[] =
"physical replication from a varve compute is refused: its WAL may not be on a quorum yet";
static const char refusal_hint[] =
"A replica endpoint follows the branch (\"varve endpoint create NAME --hot-standby\"); "
"safekeepers put all WAL into object storage.";

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

bool
streams_physically(pid_t pid, WalSndState state, int sync_standby_priority)
{
	/* only the walproposer bears the name that gives a priority */
	return is_streaming(state) && sync_standby_priority == 0 && !decodes(pid);
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
	error->message = MemoryContextStrdup(ErrorContext, refusal);
	error->hint = MemoryContextStrdup(ErrorContext, refusal_hint);
}

void
physical_streams_install(void)
{
	next_log_hook = emit_log_hook;
	emit_log_hook = explain_end;
}
