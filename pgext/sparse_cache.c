/*
 * sparse_cache.c: which blocks of the local files are real.
 *
 * The rules (docs/sparse-cache.md A1-A3, D9), in short:
 *   - {look at the valid bit, md read} under the partition lock, shared;
 *   - {md write, set the bit, note the insert LSN, new generation} exclusive;
 *   - {compare the generation, store fetched blocks, set bits} exclusive (fill.c);
 *   - {look at what may go, punch, clear bits, new generation} exclusive (eviction.c);
 *   - never a chunk lock over the network.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "miscadmin.h"
#include "storage/bufpage.h"

#include "buffers.h"
#include "counters.h"
#include "disk_space.h"
#include "evictor.h"
#include "fill.h"
#include "gucs.h"
#include "insert_lsn.h"
#include "own_history.h"
#include "page_client.h"
#include "page_images.h"
#include "prefetch.h"
#include "readahead.h"
#include "sabotage.h"
#include "sequence_page.h"
#include "shadow.h"
#include "smgr_md.h"
#include "sparse_cache.h"

/* as much use as the clock of the eviction counts */
#define USAGE_MAX 3
/* how long a write waits for an entry in a full table */
#define TABLE_PATIENCE_MS 5000
#define TABLE_PATIENCE_STEP_MS 10

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

/* `wanted`: so many blocks from this one on the reader is sure to want */
static void
fetch(RelationTag relation, ForkNumber fork, BlockNumber block, uint32 wanted, BlockNumber end_of_file,
	  char *page)
{
	/* pages that will not be stored would be fetched again, one by one */
	uint32		limit = disk_space_allows_fills() ?
		readahead_run(relation, fork, block, wanted, fill_limit(block, end_of_file)) : 1;
	Fill		fill = fill_begin(relation, fork, block, limit);
	PageRequest request = fill_request(&fill);
	const char *pages;

	if (fill_needs_flush(&fill))
		XLogFlush(fill.not_modified_since);
	pages = page_client_get(&request);
	own_history_wait(pages, fill.blocks);
	memcpy(page, pages, BLCKSZ);
	(void) fill_end(&fill, block, pages);
}

static void
read_missing(SMgrRelation relation, ForkNumber fork, BlockNumber block, char *page, uint32 wanted)
{
	RelationTag tag = relation_tag(relation);
	BlockNumber end_of_file = md_block_count(relation, fork);

	/* beyond the end: let stock say so, in its own words */
	if (block >= end_of_file)
	{
		md_read_blocks(relation, fork, block, &page, 1);
		return;
	}
	count(&varve_counters->misses, 1);
	if (!prefetch_take(tag, fork, block, page))
		fetch(tag, fork, block, wanted, end_of_file, page);
	if (disk_space_allows_fills())
		prefetch_next_run(tag, fork, end_of_file);
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

/* D8: an all-zero page where nobody extended with zeros points to a lost write */
static void
check_zero_page(const ChunkEntry *entry, const char *page)
{
	if (PageIsNew((Page) page) && !entry->chunk.zero_extended && is_zero_page(page))
		count(&varve_counters->suspect_zero_pages, 1);
}

/* several readers may do it at once and count as one: it is a hint */
static void
note_usage(ChunkEntry *entry)
{
	volatile uint8 *usage = &entry->chunk.usage;

	if (*usage < USAGE_MAX)
		*usage = *usage + 1;
}

/* of blocks in one chunk, how many from the first on are valid */
static uint32
valid_run(const ChunkEntry *entry, BlockNumber first, uint32 limit)
{
	uint32		blocks = 0;

	while (blocks < limit && block_bit(entry->chunk.valid, first + blocks))
		blocks++;
	return blocks;
}

/* reads the valid blocks from the first one on, within its chunk; how many that were */
static uint32
read_valid(SMgrRelation relation, ForkNumber fork, BlockNumber first, char **pages, uint32 count)
{
	ChunkKey	key = chunk_key(relation_tag(relation), fork, first);
	uint32		limit = Min(count, chunk_first_block(&key) + varve_chunk_blocks - first);
	LWLock	   *lock = chunk_table_lock(&key, LW_SHARED);
	ChunkEntry *entry = chunk_table_find(&key);
	uint32		run = entry != NULL ? valid_run(entry, first, limit) : 0;

	if (run > 0)
	{
		md_read_blocks(relation, fork, first, pages, run);
		for (uint32 i = 0; i < run; i++)
		{
			check_zero_page(entry, pages[i]);
			shadow_compare_local(&key, first + i, pages[i]);
		}
		note_usage(entry);
	}
	LWLockRelease(lock);
	return run;
}

void
sparse_cache_read(SMgrRelation relation, ForkNumber fork, BlockNumber block, char **pages, uint32 count)
{
	uint32		done = 0;

	while (done < count)
	{
		uint32		run = read_valid(relation, fork, block + done, pages + done, count - done);

		if (run == 0)
		{
			read_missing(relation, fork, block + done, pages[done], count - done);
			run = 1;
		}
		done += run;
	}
	if (fork == MAIN_FORKNUM && page_images_are_wanted() && page_is_of_permanent_relation(pages[0]))
		page_images_relieve(relation_tag(relation), block);
}

static void
fail_for_full_table(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("varve: the table of cached chunks is full, and nothing in it may be evicted"),
			 errdetail("Running transactions keep what they wrote, and each relation that was written keeps its maps."),
			 errhint("Raise varve.cache_entries (now %d) and restart the endpoint, or end long transactions.",
					 varve_cache_entries)));
}

/*
 * The evictor makes entries fit to give way as soon as what was written in
 * their chunks is covered and ingested. That takes a moment, unless a
 * transaction that runs is in the way: it may be our own.
 */
static void
wait_for_entry(int *waited_ms)
{
	if (*waited_ms >= TABLE_PATIENCE_MS)
		fail_for_full_table();
	evictor_wake();
	pg_usleep(TABLE_PATIENCE_STEP_MS * 1000L);
	*waited_ms += TABLE_PATIENCE_STEP_MS;
}

/* a block is about to be written or added, under the lock of its chunk */
static ChunkEntry *
begin_write(const ChunkKey *key, BlockNumber block, const char *page, WriteInProgress *write)
{
	ChunkEntry *entry;
	int			waited_ms = 0;

	while ((entry = chunk_table_lock_chunk(key, &write->lock)) == NULL)
		wait_for_entry(&waited_ms);
	if (PageIsNew((Page) page))
		entry->chunk.zero_extended = true;
	if (is_sequence_page(key, block, page) && !sabotage_sequences())
		chunk_note_sequence(entry);
	write->insert_lsn = insert_lsn_now();
	return entry;
}

void
sparse_cache_begin_write(SMgrRelation relation, ForkNumber fork, BlockNumber block, const char *page,
						 WriteInProgress *write)
{
	ChunkKey	key = chunk_key(relation_tag(relation), fork, block);

	write->block = block;
	write->count = 1;
	write->page = page;
	disk_space_make_room(&key, block);
	write->entry = begin_write(&key, block, page, write);
}

uint32
sparse_cache_begin_zeros(SMgrRelation relation, ForkNumber fork, BlockNumber block, uint32 count,
						 WriteInProgress *write)
{
	static const PGAlignedBlock zeros;
	ChunkKey	key = chunk_key(relation_tag(relation), fork, block);

	write->block = block;
	write->count = Min(count, chunk_first_block(&key) + varve_chunk_blocks - block);
	write->page = zeros.data;
	for (uint32 i = 0; i < write->count; i++)
		disk_space_make_room(&key, block + i);
	write->entry = begin_write(&key, block, write->page, write);
	return write->count;
}

/*
 * The page may be ahead of what counts as replayed, if its record changes
 * others that redo is not done with.  No further than that record, whatever
 * stands where a page has its LSN; a map's page is changed without a new one.
 */
static void
note_redone(ChunkEntry *entry, const char *page)
{
	XLogRecPtr	lsn = GetCurrentReplayRecPtr(NULL);

	if (entry->key.fork == MAIN_FORKNUM)
		lsn = Min(lsn, PageGetLSN((Page) page));
	entry->chunk.last_write = Max(entry->chunk.last_write, lsn);
}

void
sparse_cache_end_write(WriteInProgress *write)
{
	ChunkEntry *entry = write->entry;
	/* what a replica writes is in WAL, to the byte that matters */
	bool		in_wal = RecoveryInProgress();

	if (in_wal)
		note_redone(entry, write->page);

	for (BlockNumber block = write->block; block < write->block + write->count; block++)
	{
		chunk_set_valid(entry, block);
		if (!in_wal)
			chunk_set_written(entry, block, write->insert_lsn);
		clear_block_bit(entry->chunk.dropped, block);
		shadow_note_write(&entry->key, block, write->page);
	}
	chunk_note_change(entry);
	LWLockRelease(write->lock);
	disk_space_note_growth();
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

bool
sparse_cache_pass_over(RelationTag relation, ForkNumber fork, BlockNumber block)
{
	ChunkKey	key = chunk_key(relation, fork, block);
	LWLock	   *lock = chunk_table_lock(&key, LW_EXCLUSIVE);
	ChunkEntry *entry = chunk_table_find(&key);
	bool		valid = entry != NULL && block_bit(entry->chunk.valid, block);

	/* where there is no entry no fill is under way, or none that will be stored */
	if (entry != NULL && !valid)
		chunk_note_change(entry);
	if (!valid)
		shadow_note_passed_over(&key, block);
	LWLockRelease(lock);
	return !valid;
}

static void
forget_blocks_from(ChunkEntry *entry, BlockNumber first_gone)
{
	BlockNumber end = chunk_first_block(&entry->key) + varve_chunk_blocks;
	uint64		gone[CHUNK_WORDS] = {0};

	for (BlockNumber block = first_gone; block < end; block++)
	{
		chunk_clear_valid(entry, block);
		set_block_bit(gone, block);
		clear_block_bit(entry->chunk.dropped, block);
	}
	chunk_clear_written(entry, gone);
	chunk_note_change(entry);
}

/* forgets all blocks of the fork from `blocks` on */
static void
forget_tail(RelationTag relation, ForkNumber fork, BlockNumber blocks)
{
	uint32		chunks = chunk_table_chunks_of(relation, fork);

	for (uint32 chunk = blocks / varve_chunk_blocks; chunk < chunks; chunk++)
	{
		ChunkKey	key = {relation, fork, chunk};
		LWLock	   *lock = chunk_table_lock(&key, LW_EXCLUSIVE);
		ChunkEntry *entry = chunk_table_find(&key);
		bool		keeps_some = chunk_first_block(&key) < blocks;

		if (entry != NULL && keeps_some)
			forget_blocks_from(entry, blocks);
		else if (entry != NULL)
			chunk_table_remove(entry);
		LWLockRelease(lock);
	}
	shadow_note_cut(relation, fork, blocks);
}

/* false: the table has no room for the relation's entry */
static bool
raise_relation_floor(RelationTag relation, ForkNumber fork, XLogRecPtr lsn)
{
	LWLock	   *lock;
	ChunkEntry *entry = chunk_table_lock_relation(relation, &lock);

	if (entry == NULL)
		return false;
	chunk_table_raise_floor(entry, fork, lsn);
	LWLockRelease(lock);
	return true;
}

void
sparse_cache_begin_create(RelationTag relation, ForkNumber fork)
{
	int			waited_ms = 0;

	/* a block that this life extends over without writing it is not what a former relation had there */
	while (!raise_relation_floor(relation, fork, insert_lsn_now()))
		wait_for_entry(&waited_ms);
}

static void
forget_all_forks(RelationTag relation)
{
	for (ForkNumber fork = MAIN_FORKNUM; fork <= MAX_FORKNUM; fork++)
		forget_tail(relation, fork, 0);
}

void
sparse_cache_end_create(RelationTag relation, ForkNumber fork)
{
	if (fork == MAIN_FORKNUM)
		forget_all_forks(relation);
	else
		forget_tail(relation, fork, 0);
}

void
sparse_cache_note_init_fork(RelationTag relation)
{
	forget_all_forks(relation);
}

void
sparse_cache_note_truncate(RelationTag relation, ForkNumber fork, BlockNumber blocks)
{
	XLogRecPtr	lsn = insert_lsn_now();

	forget_tail(relation, fork, blocks);
	if (!raise_relation_floor(relation, fork, lsn))
		chunk_table_raise_database_floor(relation.db, lsn);
}

void
sparse_cache_note_unlink(RelationTag relation, ForkNumber fork)
{
	forget_tail(relation, fork, 0);
	/* smgrdounlinkall goes through the forks in order: the init fork is the last */
	if (fork == INIT_FORKNUM)
		chunk_table_forget_relation(relation);
}

void
sparse_cache_note_database_moved(Oid db)
{
	chunk_table_raise_database_floor(db, insert_lsn_now());
	sparse_cache_note_database_gone(db);
}

void
sparse_cache_note_database_gone(Oid db)
{
	chunk_table_purge_database(db);
	shadow_note_database_gone(db);
}
