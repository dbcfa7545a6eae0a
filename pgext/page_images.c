/*
 * page_images.c: over the hard limit, pages go into WAL whole, so that they may be dropped.
 *
 * While a long transaction runs no grace period ends, and what is written
 * since cannot be evicted. A full-page image brings back all that WAL else
 * lacks, to the byte. It is dangerous to log one behind the back of who changes
 * the page, and of who truncates or drops the relation, so (sparse-cache.md A6):
 *
 *   - only a process that is inside a read or extension of the same relation
 *     does it: it holds a lock on the relation, under which nobody can log a
 *     truncation or a drop;
 *   - a page in the buffers is copied and logged under its content lock, which
 *     is taken only if it is free;
 *   - a page that is not is taken from the file and logged under the lock of
 *     its buffer mapping partition: nobody brings it in and changes it before
 *     its image is in WAL;
 *   - the chunk is dropped only if nothing in it was written meanwhile.
 *
 * Locks are taken in this order: content lock or mapping lock, WAL insertion;
 * a chunk's lock under a mapping lock to read the file, and else alone.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xlog.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/ipc.h"

#include "buffers.h"
#include "counters.h"
#include "disk_space.h"
#include "eviction.h"
#include "hole_punch.h"
#include "local_relations.h"
#include "page_images.h"

/* chunks looked at for one that is worth it; the next call goes on from there */
#define LOOKS 32

typedef struct Candidate
{
	ChunkKey	key;
	uint64		generation;
	uint64		written[CHUNK_WORDS];
} Candidate;

static bool
may_log(void)
{
	return CritSectionCount == 0 && !proc_exit_inprogress &&
		(MyBackendType == B_BACKEND || MyBackendType == B_BG_WORKER || MyBackendType == B_AUTOVAC_WORKER) &&
		XLogInsertAllowed();
}

static bool
is_over_hard_limit(void)
{
	return varve_cache_size > 0 && chunk_table_cached_blocks() > disk_space_hard_limit();
}

static bool
consider(Candidate *candidate)
{
	LWLock	   *lock = chunk_table_lock(&candidate->key, LW_SHARED);
	ChunkEntry *entry = chunk_table_find(&candidate->key);
	bool		worth_it = entry != NULL && any_block_bit(entry->chunk.written) && !chunk_is_kept(entry);

	if (worth_it)
	{
		candidate->generation = entry->chunk.generation;
		memcpy(candidate->written, entry->chunk.written, sizeof(candidate->written));
	}
	LWLockRelease(lock);
	return worth_it;
}

/* a chunk of the relation with uncovered writes, not the one that is being read */
static bool
find_candidate(RelationTag relation, BlockNumber block, Candidate *candidate)
{
	static uint32 hand = 0;
	uint32		chunks = chunk_table_chunks_of(relation, MAIN_FORKNUM);
	uint32		current = chunk_key(relation, MAIN_FORKNUM, block).chunk;

	if (chunks == 0)
		return false;
	for (uint32 i = 0; i < Min(LOOKS, chunks); i++)
	{
		/* a new relation, or a new process: begin anywhere, so that processes do not meet */
		if (hand == 0 || hand >= chunks)
			hand = pg_prng_uint64_range(&pg_global_prng_state, 0, chunks - 1);
		else
			hand++;
		candidate->key = (ChunkKey) {relation, MAIN_FORKNUM, hand % chunks};
		if (candidate->key.chunk != current && consider(candidate))
			return true;
	}
	return false;
}

/* under the content lock from copy to insertion: a change in between would be undone by the older image */
static bool
log_buffer(const BlockTag *tag, int buffer_id, XLogRecPtr *end)
{
	PGAlignedBlock copy;
	Buffer		buffer;
	bool		logged = false;

	if (!buffer_pin(tag, buffer_id, &buffer))
		return false;
	if (ConditionalLockBuffer(buffer))
	{
		if (buffer_is_permanent(buffer_id))
		{
			memcpy(copy.data, BufferGetPage(buffer), BLCKSZ);
			*end = log_page_image(tag, copy.data, false);
			logged = true;
		}
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	}
	ReleaseBuffer(buffer);
	return logged;
}

static bool
read_from_file(const Candidate *candidate, BlockNumber block, char *page)
{
	LWLock	   *lock = chunk_table_lock(&candidate->key, LW_SHARED);
	ChunkEntry *entry = chunk_table_find(&candidate->key);
	bool		read = false;

	if (entry != NULL && entry->chunk.generation == candidate->generation)
	{
		int			segment = open_segment(&candidate->key, block);

		if (segment >= 0)
		{
			read = pread(segment, page, BLCKSZ, (off_t) (block % RELSEG_SIZE) * BLCKSZ) == BLCKSZ;
			close(segment);
		}
	}
	LWLockRelease(lock);
	return read;
}

static bool
log_block(const Candidate *candidate, BlockNumber block, XLogRecPtr *end)
{
	BlockTag	tag = {candidate->key.relation, MAIN_FORKNUM, block};
	PGAlignedBlock page;
	LWLock	   *mapping_lock;
	int			buffer_id = buffer_lookup(&tag, &mapping_lock);
	bool		logged = false;

	if (buffer_id >= 0)
	{
		LWLockRelease(mapping_lock);
		return log_buffer(&tag, buffer_id, end);
	}
	if (read_from_file(candidate, block, page.data))
	{
		*end = log_page_image(&tag, page.data, false);
		logged = true;
	}
	LWLockRelease(mapping_lock);
	return logged;
}

static bool
log_written_blocks(const Candidate *candidate, XLogRecPtr *end)
{
	BlockNumber first = chunk_first_block(&candidate->key);

	for (BlockNumber block = first; block < first + varve_chunk_blocks; block++)
	{
		if (!block_bit(candidate->written, block))
			continue;
		if (!log_block(candidate, block, end))
			return false;
		count(&varve_counters->page_images, 1);
	}
	return true;
}

static void
drop_if_unchanged(const Candidate *candidate, XLogRecPtr end)
{
	LWLock	   *lock;
	ChunkEntry *entry;

	local_relations_lock(LW_SHARED);
	lock = chunk_table_lock(&candidate->key, LW_EXCLUSIVE);
	entry = chunk_table_find(&candidate->key);
	if (entry != NULL && entry->chunk.generation == candidate->generation)
	{
		entry->chunk.not_modified_since = Max(entry->chunk.not_modified_since, end);
		entry->chunk.last_write = InvalidXLogRecPtr;
		memset(entry->chunk.written, 0, sizeof(entry->chunk.written));
		(void) eviction_drop(entry);
	}
	LWLockRelease(lock);
	local_relations_unlock();
}

void
page_images_relieve(RelationTag relation, BlockNumber block)
{
	Candidate	candidate;
	XLogRecPtr	end = InvalidXLogRecPtr;

	if (likely(!is_over_hard_limit()) || !may_log() || !find_candidate(relation, block, &candidate))
		return;
	if (log_written_blocks(&candidate, &end))
		drop_if_unchanged(&candidate, end);
}
