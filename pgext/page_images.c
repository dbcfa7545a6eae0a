/*
 * page_images.c: over the hard limit, pages go into WAL whole, so that they may be dropped.
 *
 * While a long transaction runs no grace period ends, and what is written
 * since cannot be evicted. A full-page image brings back all that WAL else
 * lacks, to the byte. It is dangerous to log one behind the back of who changes
 * the page, and of who truncates or drops the relation, so (docs/sparse-cache.md A6):
 *
 *   - only a process that is inside a read or extension of the same relation
 *     does it: it holds a lock on the relation, under which nobody can log a
 *     truncation or a drop; and it sees that the relation is a permanent one;
 *   - a page in the buffers is copied and logged under its content lock, which
 *     is taken only if it is free;
 *   - a page that is not is taken from the file and logged under the lock of
 *     its buffer mapping partition: nobody brings it in and changes it before
 *     its image is in WAL;
 *   - blocks are dropped only if nothing in their chunk was written meanwhile.
 *
 * Locks are taken in this order: content lock or mapping lock, WAL insertion;
 * a chunk's lock under a mapping lock to read the file, and else alone.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xlog.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/bufmgr.h"
#include "storage/ipc.h"

#include "buffers.h"
#include "counters.h"
#include "disk_space.h"
#include "eviction.h"
#include "hole_punch.h"
#include "local_relations.h"
#include "page_images.h"

/* chunks looked at for the one with most to gain */
#define LOOKS 8
/* a bound on what one read or extension does for the others */
#define CHUNKS_AT_ONCE 4
#define BLOCKS_AT_ONCE 32

typedef struct Candidate
{
	ChunkKey	key;
	uint64		last_change;
	uint64		written[CHUNK_WORDS];
	uint64		logged[CHUNK_WORDS];
	XLogRecPtr	end;			/* of the last image */
} Candidate;

static bool
may_log(void)
{
	return CritSectionCount == 0 && !proc_exit_inprogress &&
		(MyBackendType == B_BACKEND || MyBackendType == B_BG_WORKER || MyBackendType == B_AUTOVAC_WORKER) &&
		XLogInsertAllowed();
}

/* of the disk, or of the table that keeps track of it */
static bool
is_over_hard_limit(void)
{
	return chunk_table_is_crowded() ||
		(varve_cache_size > 0 && chunk_table_cached_blocks() > disk_space_hard_limit());
}

static int
written_blocks(const Candidate *candidate)
{
	return pg_popcount64(candidate->written[0]) + pg_popcount64(candidate->written[1]);
}

/* takes the chunk if it has more uncovered writes than the candidate so far */
static void
consider(const ChunkKey *key, Candidate *candidate)
{
	LWLock	   *lock = chunk_table_lock(key, LW_SHARED);
	ChunkEntry *entry = chunk_table_find(key);
	Candidate	other = {.key = *key};

	if (entry != NULL && !chunk_is_kept(entry))
	{
		memcpy(other.written, entry->chunk.written, sizeof(other.written));
		other.last_change = entry->chunk.last_change;
	}
	LWLockRelease(lock);
	if (written_blocks(&other) > written_blocks(candidate))
		*candidate = other;
}

/* a chunk of the relation, not the one that is being read; looked for anywhere, so that processes do not meet */
static bool
find_candidate(RelationTag relation, BlockNumber block, Candidate *candidate)
{
	uint32		chunks = chunk_table_chunks_of(relation, MAIN_FORKNUM);
	uint32		current = chunk_key(relation, MAIN_FORKNUM, block).chunk;
	uint32		first;

	memset(candidate, 0, sizeof(Candidate));
	if (chunks == 0)
		return false;
	first = pg_prng_uint64_range(&pg_global_prng_state, 0, chunks - 1);
	for (uint32 i = 0; i < Min(LOOKS, chunks); i++)
	{
		ChunkKey	key = {relation, MAIN_FORKNUM, (first + i) % chunks};

		if (key.chunk != current)
			consider(&key, candidate);
	}
	return written_blocks(candidate) > 0;
}

/* somebody else may have dropped the block meanwhile: then there is nothing to log, least of all its hole */
static bool
read_from_file(const Candidate *candidate, BlockNumber block, char *page)
{
	LWLock	   *lock = chunk_table_lock(&candidate->key, LW_SHARED);
	ChunkEntry *entry = chunk_table_find(&candidate->key);
	bool		read = false;

	if (entry != NULL && block_bit(entry->chunk.valid, block) && block_bit(entry->chunk.written, block))
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

/*
 * Under the content lock from copy to insertion: a change in between would be
 * undone by the older image.  What a clean buffer holds may never reach the
 * file: SP-GiST prepares pages in it that it may not use after all.  So of a
 * clean one the file's page is logged, which is what would be read again.
 */
static bool
log_buffer(Candidate *candidate, const BlockTag *tag, int buffer_id)
{
	PGAlignedBlock copy;
	Buffer		buffer;
	bool		logged = false;

	if (!buffer_pin(tag, buffer_id, &buffer))
		return false;
	if (ConditionalLockBuffer(buffer))
	{
		bool		dirty = buffer_needs_write(buffer);

		if (dirty)
			memcpy(copy.data, BufferGetPage(buffer), BLCKSZ);
		if (dirty || read_from_file(candidate, tag->block, copy.data))
		{
			candidate->end = log_page_image(tag, copy.data, false);
			logged = true;
		}
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	}
	ReleaseBuffer(buffer);
	return logged;
}

static bool
log_block(Candidate *candidate, BlockNumber block)
{
	BlockTag	tag = {candidate->key.relation, MAIN_FORKNUM, block};
	PGAlignedBlock page;
	LWLock	   *mapping_lock;
	int			buffer_id = buffer_lookup(&tag, &mapping_lock);
	bool		logged = false;

	if (buffer_id >= 0)
	{
		LWLockRelease(mapping_lock);
		return log_buffer(candidate, &tag, buffer_id);
	}
	if (read_from_file(candidate, block, page.data))
	{
		candidate->end = log_page_image(&tag, page.data, false);
		logged = true;
	}
	LWLockRelease(mapping_lock);
	return logged;
}

/* a block whose page is in use by somebody is left out */
static void
log_written_blocks(Candidate *candidate)
{
	BlockNumber first = chunk_first_block(&candidate->key);
	int			logged = 0;

	for (BlockNumber block = first; block < first + varve_chunk_blocks && logged < BLOCKS_AT_ONCE; block++)
	{
		if (!block_bit(candidate->written, block) || !log_block(candidate, block))
			continue;
		set_block_bit(candidate->logged, block);
		logged++;
	}
	count(&varve_counters->page_images, logged);
}

/* the images are what the pageserver knows of these blocks, exactly */
static void
settle_logged_writes(ChunkEntry *entry, const Candidate *candidate)
{
	chunk_clear_written(entry, candidate->logged);
	entry->chunk.not_modified_since = Max(entry->chunk.not_modified_since, candidate->end);
}

static void
drop_if_unchanged(const Candidate *candidate)
{
	LWLock	   *lock;
	ChunkEntry *entry;

	local_relations_lock(LW_SHARED);
	lock = chunk_table_lock(&candidate->key, LW_EXCLUSIVE);
	entry = chunk_table_find(&candidate->key);
	if (entry != NULL && entry->chunk.last_change == candidate->last_change)
	{
		settle_logged_writes(entry, candidate);
		(void) eviction_drop(entry);
	}
	LWLockRelease(lock);
	local_relations_unlock();
}

bool
page_images_are_wanted(void)
{
	return unlikely(is_over_hard_limit()) && may_log();
}

void
page_images_relieve(RelationTag relation, BlockNumber block)
{
	Candidate	candidate;

	for (int i = 0; i < CHUNKS_AT_ONCE && is_over_hard_limit(); i++)
	{
		if (!find_candidate(relation, block, &candidate))
			return;
		log_written_blocks(&candidate);
		drop_if_unchanged(&candidate);
	}
}
