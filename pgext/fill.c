/*
 * fill.c: what to ask the pageserver for, and when an answer may be stored.
 *
 * not_modified_since.  A missing block has never been written by this life, or
 * was evicted after a grace period had covered all its writes (grace.c).  So
 * its newest version is in WAL before the highest of: the start LSN; the
 * period of the chunk's last covered write (P); and what raises floors: the
 * creation, truncation or move of its relation or database, and table entries
 * that were recycled.  The chunk's uncovered write (W) does not count: blocks
 * written then are not missing.
 *
 * All that is of a primary.  A replica asks for what it has replayed (replica.c).
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/xlog.h"
#include "storage/bufpage.h"
#include "storage/fd.h"

#include "counters.h"
#include "disk_space.h"
#include "fill.h"
#include "gucs.h"
#include "hole_punch.h"
#include "replica.h"
#include "sabotage.h"
#include "sequence_page.h"
#include "shadow.h"

uint32
fill_limit(BlockNumber block, BlockNumber end_of_file)
{
	uint32		in_chunk = varve_chunk_blocks - block % varve_chunk_blocks;

	return Min(in_chunk, end_of_file - block);
}

/* the number of blocks from `first` on that are missing, at most `limit` */
static uint32
missing_run(const ChunkEntry *entry, BlockNumber first, uint32 limit)
{
	uint32		blocks = 1;

	while (blocks < limit && !block_bit(entry->chunk.valid, first + blocks))
		blocks++;
	return blocks;
}

Fill
fill_begin(RelationTag relation, ForkNumber fork, BlockNumber first, uint32 limit)
{
	Fill		fill = {.key = chunk_key(relation, fork, first), .first = first, .blocks = 1};
	LWLock	   *lock;
	ChunkEntry *entry = chunk_table_lock_chunk(&fill.key, &lock);

	fill.not_modified_since = Max(varve_start_lsn, chunk_table_floor(entry, &fill.key));
	if (entry == NULL)
		return fill;
	fill.generation = entry->chunk.generation;
	fill.blocks = missing_run(entry, first, limit);
	LWLockRelease(lock);
	return fill;
}

/* a primary always wants the newest version, a replica the one of where it is; sampled behind the generation */
PageRequest
fill_request(const Fill *fill)
{
	bool		is_replica = RecoveryInProgress();
	XLogRecPtr	replica_lsn = is_replica ? replica_read_lsn() : InvalidXLogRecPtr;
	PageRequest request = {
		.request_lsn = is_replica ? replica_lsn :
		sabotage_page_lsn() ? fill->not_modified_since : PG_UINT64_MAX,
		.not_modified_since = is_replica ? replica_lsn : fill->not_modified_since,
		.relation = fill->key.relation,
		.fork = fill->key.fork,
		.block = fill->first,
		.blocks = fill->blocks,
	};

	return request;
}

bool
fill_needs_flush(const Fill *fill)
{
	return !RecoveryInProgress() && fill->not_modified_since > GetFlushRecPtr(NULL);
}

/* writes the blocks that are still missing; a full disk only means that they stay missing */
static void
store_blocks(ChunkEntry *entry, const Fill *fill, BlockNumber asked, uint32 blocks, int file,
			 const char *pages)
{
	for (uint32 i = 0; i < blocks; i++)
	{
		BlockNumber block = fill->first + i;
		const char *page = pages + (size_t) i * BLCKSZ;

		if (block_bit(entry->chunk.valid, block))
			continue;
		shadow_compare_fetched(&entry->key, block, page, block == asked);
		if (pwrite(file, page, BLCKSZ, (off_t) (block % RELSEG_SIZE) * BLCKSZ) != BLCKSZ)
		{
			count(&varve_counters->fill_failures, 1);
			return;
		}
		if (is_sequence_page(&entry->key, block, page) && !sabotage_sequences())
			chunk_note_sequence(entry);
		chunk_set_valid(entry, block);
		if (block_bit(entry->chunk.dropped, block))
			count(&varve_counters->refetched_blocks, 1);
		clear_block_bit(entry->chunk.dropped, block);
		if (PageIsNew((Page) page))
			entry->chunk.zero_extended = true;
		count(&varve_counters->filled_blocks, 1);
	}
}

/* false: the guard refused */
static bool
store(const Fill *fill, BlockNumber asked, int file, const char *pages)
{
	LWLock	   *lock = chunk_table_lock(&fill->key, LW_EXCLUSIVE);
	ChunkEntry *entry = chunk_table_find(&fill->key);
	bool		unchanged = entry != NULL && entry->chunk.generation == fill->generation;

	if (unchanged && file >= 0)
	{
		off_t		length = lseek(file, 0, SEEK_END);
		BlockNumber base = fill->first % RELSEG_SIZE;
		BlockNumber in_segment = length > 0 ? length / BLCKSZ : 0;

		/* never at or beyond the end of the file: it would bring truncated blocks back */
		if (in_segment > base)
			store_blocks(entry, fill, asked, Min(fill->blocks, in_segment - base), file, pages);
	}
	LWLockRelease(lock);
	return unchanged;
}

bool
fill_end(const Fill *fill, BlockNumber asked, const char *pages)
{
	bool		unchanged;
	int			file = -1;

	if (unlikely(varve_test_delay > 0))
		pg_usleep(varve_test_delay);
	if (fill->generation == 0)
		return false;
	/* where there is no room the pages serve who asked, and stay missing */
	if (disk_space_allows_fills())
	{
		file = open_segment(&fill->key, fill->first);
		if (file < 0)
			count(&varve_counters->fill_failures, 1);
	}
	else
		count(&varve_counters->fills_not_stored, 1);

	unchanged = store(fill, asked, file, pages);
	if (!unchanged)
		count(&varve_counters->guard_refusals, 1);
	if (file >= 0)
		close(file);
	disk_space_note_growth();
	return unchanged;
}
