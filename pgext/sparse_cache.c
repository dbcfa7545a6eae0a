/*
 * sparse_cache.c: which blocks of the local files are real, and how missing ones come in.
 *
 * The rules (sparse-cache.md A1-A3, D9), in short:
 *   - {look at the valid bit, md read} under the partition lock, shared;
 *   - {md write, set the bit, note the insert LSN, new generation} exclusive;
 *   - {compare the generation, store fetched blocks, set bits} exclusive;
 *   - never a chunk lock over the network;
 *   - a fetched block is stored only if nothing in its chunk has changed since
 *     the request was made, and never at or beyond the end of the file.
 *
 * not_modified_since.  Without eviction a block that is not valid has never
 * been written by this life, so its newest version is at most as new as the
 * start LSN, or the creation, truncation or move of its relation or database:
 * these raise floors.  The last write of the chunk (W) does not count for it;
 * it says when the chunk may be evicted.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "miscadmin.h"
#include "storage/bufpage.h"
#include "storage/fd.h"

#include "counters.h"
#include "gucs.h"
#include "local_relations.h"
#include "page_client.h"
#include "readahead.h"
#include "smgr_md.h"
#include "sparse_cache.h"

/* what a miss remembers while it waits for the network */
typedef struct Fill
{
	ChunkKey	key;
	BlockNumber first;
	uint32		blocks;
	XLogRecPtr	not_modified_since;
	uint64		generation;		/* 0: the table had no room, the pages are not stored */
} Fill;

void
sparse_cache_request_shmem(void)
{
	chunk_table_request_shmem();
}

void
sparse_cache_start_shmem(void)
{
	chunk_table_start_shmem();

	/* pages from the pageserver carry no checksums */
	if (!IsUnderPostmaster && DataChecksumsEnabled())
		ereport(FATAL,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("varve: a cluster with data checksums cannot be served by a pageserver yet")));
}

XLogRecPtr
sparse_cache_insert_lsn(void)
{
	XLogRecPtr	lsn = GetXLogInsertRecPtr();

	/* just behind a page header: the last record ended before the header */
	if (XLogSegmentOffset(lsn, wal_segment_size) == SizeOfXLogLongPHD)
		return lsn - SizeOfXLogLongPHD;
	if (lsn % XLOG_BLCKSZ == SizeOfXLogShortPHD)
		return lsn - SizeOfXLogShortPHD;
	return lsn;
}

/* enters an entry, recycling others if the table is full; NULL if nothing can go */
static ChunkEntry *
enter_with_room(const ChunkKey *key, LWLock **lock)
{
	for (int tries = 0; tries < 16; tries++)
	{
		ChunkEntry *entry;

		*lock = chunk_table_lock(key, LW_EXCLUSIVE);
		entry = chunk_table_enter(key);
		if (entry != NULL)
			return entry;
		LWLockRelease(*lock);
		if (!chunk_table_recycle_one())
			break;
	}
	return NULL;
}

/* the relation's entry must know the chunk before it exists, or a drop would miss it */
static bool
note_chunk_of_relation(const ChunkKey *key)
{
	ChunkKey	relation_key = relation_entry_key(key->relation);
	LWLock	   *lock;
	ChunkEntry *entry = enter_with_room(&relation_key, &lock);

	if (entry == NULL)
		return false;
	entry->relation.chunks[key->fork] = Max(entry->relation.chunks[key->fork], key->chunk + 1);
	LWLockRelease(lock);
	return true;
}

/* the chunk's entry, made if it is missing, with its partition locked exclusively; NULL: no room */
static ChunkEntry *
lock_chunk(const ChunkKey *key, LWLock **lock)
{
	ChunkEntry *entry;

	*lock = chunk_table_lock(key, LW_EXCLUSIVE);
	entry = chunk_table_find(key);
	if (entry != NULL)
		return entry;
	LWLockRelease(*lock);

	if (!note_chunk_of_relation(key))
		return NULL;
	return enter_with_room(key, lock);
}

/*
 * Shared catalogs have no floors (sparse-cache.md C3): a walsender that
 * reconnects reads them, and would wait for WAL that only it can ship.  They
 * need none: their files grow block by block, so a block of theirs that is
 * missing is as old as the start.
 */
static XLogRecPtr
relation_floor(const ChunkKey *key)
{
	ChunkKey	relation_key = relation_entry_key(key->relation);
	XLogRecPtr	floor = InvalidXLogRecPtr;
	ChunkEntry *entry;
	LWLock	   *lock;

	if (!OidIsValid(key->relation.db))
		return InvalidXLogRecPtr;
	lock = chunk_table_lock(&relation_key, LW_SHARED);
	entry = chunk_table_find(&relation_key);
	if (entry != NULL)
		floor = entry->relation.floor[key->fork];
	LWLockRelease(lock);
	return floor;
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

static Fill
begin_fill(RelationTag relation, ForkNumber fork, BlockNumber block, BlockNumber end_of_file)
{
	Fill		fill = {.key = chunk_key(relation, fork, block), .first = block, .blocks = 1};
	uint32		limit = Min(VARVE_CHUNK_BLOCKS - block % VARVE_CHUNK_BLOCKS, end_of_file - block);
	XLogRecPtr	floor;
	ChunkEntry *entry;
	LWLock	   *lock;

	floor = Max(varve_start_lsn, relation_floor(&fill.key));
	floor = Max(floor, chunk_table_database_floor(relation.db));
	fill.not_modified_since = floor;

	limit = readahead_run(relation, fork, block, limit);
	entry = lock_chunk(&fill.key, &lock);
	if (entry == NULL)
		return fill;
	fill.not_modified_since = Max(floor, entry->chunk.not_modified_since);
	fill.generation = entry->chunk.generation;
	fill.blocks = missing_run(entry, block, limit);
	LWLockRelease(lock);
	return fill;
}

static bool
is_zero_page(const char *page)
{
	const uint64 *words = (const uint64 *) page;

	for (int i = 0; i < BLCKSZ / sizeof(uint64); i++)
		if (words[i] != 0)
			return false;
	return true;
}

/* opened by path, without O_CREAT: if the file is gone there is nothing to fill */
static int
open_segment(const Fill *fill)
{
	BlockNumber segment = fill->first / RELSEG_SIZE;
	char	   *fork = fork_path(fill->key.relation, fill->key.fork);
	char		path[MAXPGPATH];

	if (segment == 0)
		strlcpy(path, fork, sizeof(path));
	else
		snprintf(path, sizeof(path), "%s.%u", fork, segment);
	pfree(fork);
	return BasicOpenFile(path, O_RDWR | PG_BINARY);
}

/* writes the blocks that are still missing; a full disk only means that they stay missing */
static void
store_blocks(ChunkEntry *entry, const Fill *fill, uint32 blocks, int file, const char *pages)
{
	for (uint32 i = 0; i < blocks; i++)
	{
		BlockNumber block = fill->first + i;
		const char *page = pages + (size_t) i * BLCKSZ;

		if (block_bit(entry->chunk.valid, block))
			continue;
		if (pwrite(file, page, BLCKSZ, (off_t) (block % RELSEG_SIZE) * BLCKSZ) != BLCKSZ)
		{
			count(&varve_counters->fill_failures, 1);
			return;
		}
		set_block_bit(entry->chunk.valid, block);
		if (PageIsNew((Page) page))
			entry->chunk.zero_extended = true;
		count(&varve_counters->filled_blocks, 1);
	}
}

static void
end_fill(SMgrRelation relation, const Fill *fill, const char *pages)
{
	LWLock	   *lock;
	ChunkEntry *entry;
	int			file;

	if (fill->generation == 0)
		return;
	file = open_segment(fill);
	if (file < 0)
	{
		count(&varve_counters->fill_failures, 1);
		return;
	}

	lock = chunk_table_lock(&fill->key, LW_EXCLUSIVE);
	entry = chunk_table_find(&fill->key);
	if (entry == NULL || entry->chunk.generation != fill->generation)
		count(&varve_counters->guard_refusals, 1);
	else
	{
		off_t		length = lseek(file, 0, SEEK_END);
		BlockNumber base = fill->first % RELSEG_SIZE;
		BlockNumber in_segment = length > 0 ? length / BLCKSZ : 0;

		/* never at or beyond the end of the file: it would bring truncated blocks back */
		if (in_segment > base)
			store_blocks(entry, fill, Min(fill->blocks, in_segment - base), file, pages);
	}
	LWLockRelease(lock);
	close(file);
}

static void
read_missing(SMgrRelation relation, ForkNumber fork, BlockNumber block, char *page)
{
	RelationTag tag = relation_tag(relation);
	BlockNumber end_of_file = md_block_count(relation, fork);
	Fill		fill;
	PageRequest request;
	const char *pages;

	/* beyond the end: let stock say so, in its own words */
	if (block >= end_of_file)
	{
		md_read_block(relation, fork, block, page);
		return;
	}

	count(&varve_counters->misses, 1);
	fill = begin_fill(tag, fork, block, end_of_file);
	if (fill.not_modified_since > GetFlushRecPtr(NULL))
		XLogFlush(fill.not_modified_since);

	request = (PageRequest) {0, fill.not_modified_since, tag, fork, block, fill.blocks};
	pages = page_client_get(&request);
	memcpy(page, pages, BLCKSZ);
	end_fill(relation, &fill, pages);
}

/* D8: an all-zero page where nobody extended with zeros points to a lost write */
static void
check_zero_page(const ChunkEntry *entry, const char *page)
{
	if (PageIsNew((Page) page) && !entry->chunk.zero_extended && is_zero_page(page))
		count(&varve_counters->zero_pages_suspect, 1);
}

void
sparse_cache_read(SMgrRelation relation, ForkNumber fork, BlockNumber block, char *page)
{
	ChunkKey	key = chunk_key(relation_tag(relation), fork, block);
	LWLock	   *lock = chunk_table_lock(&key, LW_SHARED);
	ChunkEntry *entry = chunk_table_find(&key);

	if (entry != NULL && block_bit(entry->chunk.valid, block))
	{
		md_read_block(relation, fork, block, page);
		check_zero_page(entry, page);
		LWLockRelease(lock);
		return;
	}
	LWLockRelease(lock);
	read_missing(relation, fork, block, page);
}

LWLock *
sparse_cache_begin_write(SMgrRelation relation, ForkNumber fork, BlockNumber block,
						 bool zero_page, ChunkEntry **entry, XLogRecPtr *insert_lsn)
{
	ChunkKey	key = chunk_key(relation_tag(relation), fork, block);
	LWLock	   *lock;

	*entry = lock_chunk(&key, &lock);
	if (*entry == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("varve: the table of cached chunks is full of chunks written since the start"),
				 errhint("Raise varve.cache_entries (now %d) and restart the endpoint.",
						 varve_cache_entries)));
	if (zero_page)
		(*entry)->chunk.zero_extended = true;
	*insert_lsn = sparse_cache_insert_lsn();
	return lock;
}

void
sparse_cache_end_write(LWLock *lock, ChunkEntry *entry, BlockNumber block, XLogRecPtr insert_lsn)
{
	set_block_bit(entry->chunk.valid, block);
	set_block_bit(entry->chunk.written, block);
	entry->chunk.last_write = Max(entry->chunk.last_write, insert_lsn);
	entry->chunk.generation = chunk_table_next_generation();
	LWLockRelease(lock);
}

bool
sparse_cache_is_valid(RelationTag relation, ForkNumber fork, BlockNumber block)
{
	ChunkKey	key = chunk_key(relation, fork, block);
	LWLock	   *lock = chunk_table_lock(&key, LW_SHARED);
	ChunkEntry *entry = chunk_table_find(&key);
	bool		valid = entry != NULL && block_bit(entry->chunk.valid, block);

	LWLockRelease(lock);
	return valid;
}

/* how many chunks of the fork may have entries */
static uint32
chunks_of(RelationTag relation, ForkNumber fork)
{
	ChunkKey	key = relation_entry_key(relation);
	LWLock	   *lock = chunk_table_lock(&key, LW_SHARED);
	ChunkEntry *entry = chunk_table_find(&key);
	uint32		chunks = entry != NULL ? entry->relation.chunks[fork] : 0;

	LWLockRelease(lock);
	return chunks;
}

static void
forget_blocks_from(ChunkEntry *entry, BlockNumber first_gone)
{
	for (BlockNumber block = first_gone; block % VARVE_CHUNK_BLOCKS != 0; block++)
	{
		clear_block_bit(entry->chunk.valid, block);
		clear_block_bit(entry->chunk.written, block);
	}
	entry->chunk.generation = chunk_table_next_generation();
}

/* forgets all blocks of the fork from `blocks` on */
static void
forget_tail(RelationTag relation, ForkNumber fork, BlockNumber blocks)
{
	uint32		chunks = chunks_of(relation, fork);

	for (uint32 chunk = blocks / VARVE_CHUNK_BLOCKS; chunk < chunks; chunk++)
	{
		ChunkKey	key = {relation, fork, chunk};
		LWLock	   *lock = chunk_table_lock(&key, LW_EXCLUSIVE);
		ChunkEntry *entry = chunk_table_find(&key);
		bool		keeps_some = (uint64) chunk * VARVE_CHUNK_BLOCKS < blocks;

		if (entry != NULL && keeps_some)
			forget_blocks_from(entry, blocks);
		else if (entry != NULL)
			chunk_table_remove(entry);
		LWLockRelease(lock);
	}
}

/* false: the table has no room for the relation's entry */
static bool
raise_relation_floor(RelationTag relation, ForkNumber fork, XLogRecPtr lsn)
{
	ChunkKey	key = relation_entry_key(relation);
	LWLock	   *lock;
	ChunkEntry *entry = enter_with_room(&key, &lock);

	if (entry == NULL)
		return false;
	entry->relation.floor[fork] = Max(entry->relation.floor[fork], lsn);
	LWLockRelease(lock);
	return true;
}

void
sparse_cache_begin_create(RelationTag relation, ForkNumber fork)
{
	/* a block that this life extends over without writing it is not what a former relation had there */
	if (!raise_relation_floor(relation, fork, sparse_cache_insert_lsn()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("varve: no room for one more relation in the table of cached chunks"),
				 errhint("Raise varve.cache_entries (now %d) and restart the endpoint.",
						 varve_cache_entries)));
}

void
sparse_cache_end_create(RelationTag relation, ForkNumber fork)
{
	forget_tail(relation, fork, 0);
	if (fork != MAIN_FORKNUM)
		return;
	for (fork = MAIN_FORKNUM + 1; fork <= MAX_FORKNUM; fork++)
		forget_tail(relation, fork, 0);
}

void
sparse_cache_note_truncate(RelationTag relation, ForkNumber fork, BlockNumber blocks)
{
	XLogRecPtr	lsn = sparse_cache_insert_lsn();

	forget_tail(relation, fork, blocks);
	if (!raise_relation_floor(relation, fork, lsn))
		chunk_table_raise_database_floor(relation.db, lsn);
}

static void
forget_relation_entry(RelationTag relation)
{
	ChunkKey	key = relation_entry_key(relation);
	LWLock	   *lock = chunk_table_lock(&key, LW_EXCLUSIVE);
	ChunkEntry *entry = chunk_table_find(&key);

	if (entry != NULL)
		chunk_table_remove(entry);
	LWLockRelease(lock);
}

void
sparse_cache_note_unlink(RelationTag relation, ForkNumber fork)
{
	forget_tail(relation, fork, 0);
	/* smgrdounlinkall goes through the forks in order: the init fork is the last */
	if (fork == INIT_FORKNUM)
		forget_relation_entry(relation);
}
