/*
 * sabotage.c: the wrong not_modified_since that a design without W would use.
 *
 * VACUUM sets PD_ALL_VISIBLE without moving the page's LSN (visibilitymap_set
 * with wal_log_hints off), so a page asked for at its own LSN lacks the flag.
 */
#include "postgres.h"

#include <unistd.h>

#include "storage/bufpage.h"

#include "sabotage.h"

void
sabotage_before_drop(ChunkEntry *entry, int segment, BlockNumber first, BlockNumber end)
{
	XLogRecPtr	highest = InvalidXLogRecPtr;
	PGAlignedBlock page;

	if (!sabotage_page_lsn())
		return;
	for (BlockNumber block = first; block < end; block++)
		if (pread(segment, page.data, BLCKSZ, (off_t) (block % RELSEG_SIZE) * BLCKSZ) == BLCKSZ)
			highest = Max(highest, PageGetLSN((Page) page.data));
	entry->chunk.not_modified_since = highest;
}
