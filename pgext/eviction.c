/*
 * eviction.c: what may be dropped from the local files, and dropping it.
 *
 * A chunk's blocks that this life has not written, or whose writes are covered
 * by a grace period that the pageserver has ingested, are on the pageserver
 * exactly as far as anybody can tell: they may go (docs/sparse-cache.md B, C1, C2).
 * A block written since then stays, and only that block (B6).
 *
 * The clock gives each chunk as many rounds as its usage says.  System
 * catalogs that take less than half of the cache go only when nothing else
 * helps, well over the hard limit or on a full disk: without them nobody can
 * log in while the pageserver is away (D2).
 * Never dropped: chunk_is_kept, and relations with an init fork.  Not yet: on a
 * replica, what a record has changed that is not replayed in full.
 */
#include "postgres.h"

#include <errno.h>
#include <unistd.h>

#include "miscadmin.h"
#include "port/pg_bitutils.h"

#include "counters.h"
#include "disk_space.h"
#include "eviction.h"
#include "grace.h"
#include "gucs.h"
#include "hole_punch.h"
#include "insert_lsn.h"
#include "local_relations.h"
#include "sabotage.h"
#include "sequence_page.h"

/* as often as the hand passes a chunk that is in use all the time before it is dropped */
#define USAGE_MAX 3

/* what the last round of eviction, which found nothing to drop, had to work with */
static XLogRecPtr fruitless_bound = InvalidXLogRecPtr;
static uint64 fruitless_cached = 0;

/* a covered write is no write any more: all that is left of it is the LSN to ask for */
static void
settle_covered_writes(ChunkEntry *entry, XLogRecPtr covered_before)
{
	XLogRecPtr	end;

	if (!any_block_bit(entry->chunk.written) || entry->chunk.last_write >= covered_before ||
		chunk_is_kept(entry))
		return;
	end = sabotage_no_grace() ? insert_lsn_now() : grace_end_of(entry->chunk.last_write);
	entry->chunk.not_modified_since = Max(entry->chunk.not_modified_since, end);
	chunk_clear_written(entry, entry->chunk.written);
}

static bool
may_drop(const ChunkEntry *entry, BlockNumber block)
{
	return block_bit(entry->chunk.valid, block) && !block_bit(entry->chunk.written, block);
}

static bool
has_droppable(const ChunkEntry *entry)
{
	for (int word = 0; word < CHUNK_WORDS; word++)
		if ((entry->chunk.valid[word] & ~entry->chunk.written[word]) != 0)
			return true;
	return false;
}

/* a sequence may have been filled by a build that did not recognise it: look before it is too late */
static bool
holds_sequence(ChunkEntry *entry, int segment)
{
	PGAlignedBlock page;

	if (entry->key.chunk != 0 || !may_drop(entry, 0) || sabotage_sequences())
		return false;
	if (pread(segment, page.data, BLCKSZ, 0) != BLCKSZ ||
		!is_sequence_page(&entry->key, 0, page.data))
		return false;
	chunk_note_sequence(entry);
	return true;
}

/* gives back a run of blocks that may go; the number of blocks, 0 if the file system would not */
static uint32
drop_run(ChunkEntry *entry, int segment, BlockNumber first, BlockNumber end)
{
	BlockNumber next = first;

	while (next < end && may_drop(entry, next))
		next++;
	sabotage_before_drop(entry, segment, first, next);
	if (!punch_blocks(segment, first, next - first))
	{
		count(&varve_counters->punch_failures, 1);
		return 0;
	}
	for (BlockNumber block = first; block < next; block++)
	{
		chunk_clear_valid(entry, block);
		set_block_bit(entry->chunk.dropped, block);
	}
	return next - first;
}

static uint32
drop_from_segment(ChunkEntry *entry, int segment)
{
	BlockNumber end = chunk_first_block(&entry->key) + varve_chunk_blocks;
	uint32		dropped = 0;

	for (BlockNumber block = chunk_first_block(&entry->key); block < end; block++)
	{
		uint32		run;

		if (!may_drop(entry, block))
			continue;
		run = drop_run(entry, segment, block, end);
		if (run == 0)
			break;
		dropped += run;
		block += run - 1;
	}
	if (dropped > 0)
	{
		entry->chunk.generation = chunk_table_next_generation();
		count(&varve_counters->evicted_chunks, 1);
		count(&varve_counters->evicted_blocks, dropped);
	}
	return dropped;
}

/* there is no file any more, or none of the pageserver's pages in it */
static void
forget_blocks(ChunkEntry *entry)
{
	BlockNumber first = chunk_first_block(&entry->key);

	for (BlockNumber block = first; block < first + varve_chunk_blocks; block++)
		chunk_clear_valid(entry, block);
	entry->chunk.not_modified_since = Max(entry->chunk.not_modified_since, entry->chunk.last_write);
	chunk_clear_written(entry, entry->chunk.written);
	chunk_note_change(entry);
}

uint32
eviction_drop(ChunkEntry *entry)
{
	uint32		dropped = 0;
	int			segment;

	if (chunk_is_kept(entry) || !has_droppable(entry) || chunk_is_ahead_of_replay(entry))
		return 0;
	/* its files are not ours to judge, whatever the bits say */
	if (init_fork_exists(entry->key.relation))
	{
		forget_blocks(entry);
		return 0;
	}
	segment = open_segment(&entry->key, chunk_first_block(&entry->key));
	if (segment < 0)
	{
		/* the directory of its database went */
		if (errno == ENOENT)
			forget_blocks(entry);
		return 0;
	}
	if (!holds_sequence(entry, segment))
		dropped = drop_from_segment(entry, segment);
	close(segment);
	return dropped;
}

/* without a lock: is it worth one? */
static bool
looks_droppable(const ChunkEntry *entry, bool catalogs)
{
	if (entry == NULL || entry->key.fork != MAIN_FORKNUM || !any_block_bit(entry->chunk.valid))
		return false;
	return catalogs || !chunk_is_catalog(entry);
}

static uint32
visit(uint32 index, XLogRecPtr covered_before, bool hurry)
{
	LWLock	   *lock;
	ChunkEntry *entry;
	uint32		dropped = 0;

	local_relations_lock(LW_SHARED);
	entry = chunk_table_lock_entry(index, &lock);
	if (entry != NULL)
	{
		if (entry->key.fork != MAIN_FORKNUM)
			 /* moved meanwhile */ ;
		else if (entry->chunk.usage > 0 && !hurry)
			entry->chunk.usage--;
		else
		{
			settle_covered_writes(entry, covered_before);
			dropped = eviction_drop(entry);
		}
		LWLockRelease(lock);
	}
	local_relations_unlock();
	return dropped;
}

static bool
catalogs_take_much(void)
{
	return chunk_table_catalog_blocks() > varve_cache_size / 2;
}

/* one round of the hand */
static uint64
sweep(uint64 wanted, XLogRecPtr covered_before, bool catalogs)
{
	static uint32 hand = 0;
	uint32		entries = chunk_table_entries_used();
	uint64		dropped = 0;

	for (uint32 i = 0; i < entries && dropped < wanted; i++)
	{
		hand = hand + 1 < entries ? hand + 1 : 0;
		if (!looks_droppable(chunk_table_peek(hand), catalogs || catalogs_take_much()))
			continue;
		CHECK_FOR_INTERRUPTS();
		dropped += visit(hand, covered_before, varve_cache_size == 0);
	}
	return dropped;
}

/* what may go changes when this does; on a replica nothing needs covering, but its record has to be replayed */
static XLogRecPtr
covered_bound(XLogRecPtr ingested)
{
	if (RecoveryInProgress())
		return GetXLogReplayRecPtr(NULL);
	return sabotage_no_grace() ? PG_UINT64_MAX : grace_covered_before(ingested);
}

void
eviction_make_recyclable(XLogRecPtr ingested)
{
	static XLogRecPtr last_bound = InvalidXLogRecPtr;
	XLogRecPtr	bound = covered_bound(ingested);
	uint32		entries = chunk_table_entries_used();

	if (bound == last_bound || !chunk_table_is_crowded())
		return;
	last_bound = bound;
	for (uint32 index = 0; index < entries; index++)
	{
		LWLock	   *lock;
		ChunkEntry *entry = chunk_table_lock_entry(index, &lock);

		if (entry == NULL)
			continue;
		if (entry->key.fork == MAIN_FORKNUM)
			settle_covered_writes(entry, bound);
		LWLockRelease(lock);
		CHECK_FOR_INTERRUPTS();
	}
}

uint64
eviction_run(uint64 wanted, XLogRecPtr ingested)
{
	XLogRecPtr	bound = covered_bound(ingested);
	uint64		dropped = 0;

	/* everything that is left was in use or not covered a moment ago */
	if (bound == fruitless_bound && chunk_table_cached_blocks() <= fruitless_cached)
	{
		fruitless_cached = chunk_table_cached_blocks();
		return 0;
	}
	for (int round = 0; round <= USAGE_MAX && dropped < wanted; round++)
		dropped += sweep(wanted - dropped, bound, false);
	for (int round = 0; round <= USAGE_MAX && dropped < wanted && disk_space_spares_nothing(); round++)
		dropped += sweep(wanted - dropped, bound, true);
	if (dropped == 0)
	{
		fruitless_bound = bound;
		fruitless_cached = chunk_table_cached_blocks();
	}
	return dropped;
}
