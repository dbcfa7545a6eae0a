/*
 * own_history.c: pages that another compute has changed are not used.
 *
 * A primary asks for the newest version of a page.  Once another compute has
 * taken the timeline over, that may be one which holds nothing that this
 * one's snapshots can tell apart: versions of rows that they see may be
 * vacuumed away, and transactions have its numbers and other fates.  Nobody
 * need have told it yet, and a query that runs is not asked for the read lease
 * again.
 *
 * The pageserver has nothing but what a quorum has.  So a page is ours if this
 * compute knows of a quorum for all up to the page's LSN, as it does but for a
 * moment; or, for pages that were imported with LSNs of another server's, if a
 * quorum still follows after the page came.  In either case no other compute had
 * begun.  Who was replaced hears neither: its reads wait until they are
 * cancelled or it is told.
 *
 * Blocks that the relation has no more there come as zeros, without an LSN.
 * They count as ours if a quorum followed moments ago: to take over and to
 * truncate takes longer.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "replication/walsender.h"
#include "storage/bufpage.h"
#include "utils/timestamp.h"

#include "gucs.h"
#include "own_history.h"
#include "page_client.h"
#include "walproposer_reply.h"

#define STEP_MS 10
#define MOMENTS_MS 2500
/* the first line in the log, of each page that waits */
#define TELL_AFTER_MS 10000

typedef struct Answer
{
	XLogRecPtr	newest;
	bool		has_zeros;
	TimestampTz arrival;
} Answer;

static bool
is_ours(const Answer *answer)
{
	TimestampTz now = GetCurrentTimestamp();

	walproposer_reply_look();
	if (quorum_followed_since(answer->arrival, now))
		return true;
	if (!quorum_has(answer->newest))
		return false;
	/* without a lease reads go on without a quorum: who set that knows what it means */
	return !answer->has_zeros || varve_read_lease == 0 ||
		quorum_followed_since(now - (int64) MOMENTS_MS * 1000, now);
}

/*
 * What a quorum has is told to the walsender of the walproposer, which must not
 * wait for it.  It reads what it knows its role by, and looks at no row.
 */
static bool
tells_of_quorums(void)
{
	return am_walsender && !am_db_walsender;
}

void
own_history_wait(const char *pages, uint32 blocks)
{
	Answer		answer = {.newest = InvalidXLogRecPtr};
	bool		told = false;

	/* a replica asks for pages as of what it has replayed, which a quorum has */
	if (RecoveryInProgress() || tells_of_quorums())
		return;
	for (uint32 i = 0; i < blocks; i++)
	{
		Page		page = (Page) (pages + (size_t) i * BLCKSZ);

		answer.newest = Max(answer.newest, PageGetLSN(page));
		answer.has_zeros = answer.has_zeros || PageIsNew(page);
	}
	if (!answer.has_zeros && quorum_has(answer.newest))
		return;
	answer.arrival = GetCurrentTimestamp();
	while (!is_ours(&answer))
	{
		if (!told && TimestampDifferenceExceeds(answer.arrival, GetCurrentTimestamp(), TELL_AFTER_MS))
		{
			told = true;
			ereport(LOG,
					(errmsg("varve: a page of LSN %X/%X waits, since no quorum of safekeepers confirms that this is still the primary",
							LSN_FORMAT_ARGS(answer.newest))));
		}
		page_client_pause(STEP_MS);
	}
}
