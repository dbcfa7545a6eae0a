/*
 * statistics.c: cumulative statistics, written before the server stops.
 *
 * Stock has the checkpointer write them after the shutdown checkpoint, when
 * nothing can be put into WAL any more.  Here the same function runs earlier,
 * in the background worker that ends before that checkpoint; it may run beside
 * processes that still count, and the note that it leaves, that the server has
 * stopped, is taken back.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/procarray.h"
#include "utils/pgstat_internal.h"

#include "statistics.h"

/* sessions that take longer are missed, with what they have not reported yet */
#define PATIENCE_MS 1000
#define STEP_MS 5

/* walsenders stay until the shutdown checkpoint is sent */
static int
count_walsenders(void)
{
	int			count = 0;

	for (int i = 0; i < max_wal_senders; i++)
		count += WalSndCtl->walsnds[i].pid != 0;
	return count;
}

void
statistics_write(void)
{
	for (int waited = 0; waited < PATIENCE_MS && CountDBBackends(InvalidOid) > count_walsenders(); waited += STEP_MS)
		pg_usleep(STEP_MS * 1000L);
	pgstat_before_server_shutdown(0, (Datum) 0);
	pgStatLocal.shmem->is_shutdown = false;
}
