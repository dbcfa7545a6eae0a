/*
 * read_lease.c: queries wait while it is unknown whether this is still the primary.
 *
 * Another compute may take the timeline over while this one hears nothing of
 * it.  Commits wait then, but a query would read on, older and older data.  So
 * a query begins only if at some time within the last varve.read_lease a quorum
 * of safekeepers followed this compute: whoever took over did so after that.
 *
 * The walproposer says when that was, in place of the time at which it sent its
 * standby reply (pg_stat_replication.reply_time).  A time in the future, after
 * the clock was set back, says nothing, and the next reply brings a better one.
 *
 * A function that is called by its number, without a query, needs no executor:
 * so drivers read large objects.  It is asked for the lease where its permissions
 * are.
 *
 * It is looked at behind the query's snapshot.  That is early enough: while it
 * waits, nobody else can have committed, or this server is stopped.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/objectaccess.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "replication/walsender.h"
#include "storage/latch.h"
#include "tcop/pquery.h"
#include "utils/timestamp.h"

#include "gucs.h"
#include "read_lease.h"
#include "walproposer_reply.h"

#define STEP_MS 50
/* the first line in the log, of each session that waits */
#define TELL_AFTER_MS 10000

/* pages are remote: there is a walproposer */
static bool installed = false;
static ExecutorStart_hook_type next_hook = NULL;
static object_access_hook_type next_access_hook = NULL;

static bool
is_held(void)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		lease = (int64) varve_read_lease * 1000 * 1000;

	/* half of it is left: no need to look */
	if (quorum_followed_since(now - lease / 2, now))
		return true;
	walproposer_reply_look();
	return quorum_followed_since(now - lease, now);
}

static void
wait_until_held(void)
{
	TimestampTz begun = GetCurrentTimestamp();
	bool		told = false;

	while (!is_held())
	{
		if (!told && TimestampDifferenceExceeds(begun, GetCurrentTimestamp(), TELL_AFTER_MS))
		{
			told = true;
			ereport(LOG,
					(errmsg("varve: a query waits, since no quorum of safekeepers confirms that this is still the primary"),
					 errhint("Commits wait for the same. varve.read_lease = 0 lets queries go on with what may be old.")));
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, STEP_MS,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

void
read_lease_wait(void)
{
	/* a replica never shows what no quorum has */
	if (varve_read_lease == 0 || !installed || RecoveryInProgress() || MyBackendType != B_BACKEND || am_walsender)
		return;
	if (InterruptHoldoffCount == 0 && CritSectionCount == 0 && !is_held())
		wait_until_held();
}

static void
start_with_lease(QueryDesc *query, int eflags)
{
	if ((eflags & EXEC_FLAG_EXPLAIN_ONLY) == 0)
		read_lease_wait();
	if (next_hook)
		next_hook(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
}

/* also called where an executor begins, which has asked then */
static void
access_with_lease(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *argument)
{
	if (access == OAT_FUNCTION_EXECUTE && ActivePortal == NULL)
		read_lease_wait();
	if (next_access_hook)
		next_access_hook(access, class_id, object_id, sub_id, argument);
}

void
read_lease_install(void)
{
	installed = true;
	next_access_hook = object_access_hook;
	object_access_hook = access_with_lease;
	next_hook = ExecutorStart_hook;
	ExecutorStart_hook = start_with_lease;
}
