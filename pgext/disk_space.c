/*
 * disk_space.c: limits of what the cache may take, and a disk that is nearly full.
 *
 * Stock PostgreSQL finds out that a disk is full when it extends a relation.
 * Here a write into a hole needs space too, and such a write may be the
 * checkpointer's.  So a reserve is kept (docs/sparse-cache.md D3): when the file
 * system has less than that left, the evictor drops what it may, fetched pages
 * are no longer stored, and a write first makes sure that its block has room.
 * The last of the space is left to WAL, without which the server cannot go on,
 * and to the checkpointer: statements fail before that.
 */
#include "postgres.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include "access/parallel.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/shmem.h"

#include "counters.h"
#include "disk_space.h"
#include "evictor.h"
#include "gucs.h"
#include "hole_punch.h"

#define BLOCKS_PER_MB (1024 * 1024 / BLCKSZ)
/* beside shared buffers, all of which may have to be written into holes */
#define RESERVE_SLACK_MB 64
/* two segments of WAL, which statements must not use up */
#define LAST_MB 32
/*
 * Between two looks of the evictor a fast machine writes tens of megabytes, so
 * writers look too, one of them after each so many blocks that all write.
 */
#define BLOCKS_PER_LOOK 64
/* how long a writer waits for the evictor to come around */
#define PATIENCE_MS 500
#define PATIENCE_STEP_MS 10

typedef struct DiskSpace
{
	pg_atomic_uint32 nearly_full;	/* there is less than the reserve */
	pg_atomic_uint32 exhausted; /* there is only what statements may not use */
	pg_atomic_uint32 written;	/* blocks, of all processes; only where it crosses a multiple counts */
	pg_atomic_uint64 looks;		/* of the evictor at the file system, each after a round of eviction */
} DiskSpace;

static DiskSpace *state = NULL;

void
disk_space_request_shmem(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(DiskSpace)));
}

void
disk_space_start_shmem(void)
{
	bool		found;

	state = ShmemInitStruct("varve disk space", sizeof(DiskSpace), &found);
	if (found)
		return;
	pg_atomic_init_u32(&state->nearly_full, 0);
	pg_atomic_init_u32(&state->exhausted, 0);
	pg_atomic_init_u32(&state->written, 0);
	pg_atomic_init_u64(&state->looks, 0);
}

static uint64
reserve_blocks(void)
{
	if (varve_disk_reserve >= 0)
		return (uint64) varve_disk_reserve * BLOCKS_PER_MB;
	return (uint64) NBuffers + RESERVE_SLACK_MB * BLOCKS_PER_MB;
}

uint64
disk_space_hard_limit(void)
{
	if (varve_cache_hard_limit >= 0)
		return Max(varve_cache_hard_limit, varve_cache_size);
	return (uint64) varve_cache_size * 2;
}

static uint64
free_blocks(void)
{
	struct statvfs file_system;

	if (statvfs(DataDir, &file_system) != 0)
		return PG_UINT64_MAX;
	return (uint64) file_system.f_bavail * file_system.f_frsize / BLCKSZ;
}

/* how many blocks are missing to the reserve */
static uint64
look(void)
{
	uint64		free = free_blocks();
	uint64		reserve = reserve_blocks();

	pg_atomic_write_u32(&state->nearly_full, free < reserve);
	pg_atomic_write_u32(&state->exhausted, free < Min(reserve, LAST_MB * BLOCKS_PER_MB));
	return free < reserve ? reserve - free : 0;
}

uint64
disk_space_excess_blocks(void)
{
	uint64		missing = look();
	uint64		cached = chunk_table_cached_blocks();
	uint64		over = cached > varve_cache_size ? cached - varve_cache_size : 0;

	pg_atomic_fetch_add_u64(&state->looks, 1);
	return Max(over, Min(missing, cached));
}

static void
look_sometimes(void)
{
	if (pg_atomic_fetch_add_u32(&state->written, 1) % BLOCKS_PER_LOOK == 0 && look() > 0)
		evictor_wake();
}

bool
disk_space_allows_fills(void)
{
	return pg_atomic_read_u32(&state->nearly_full) == 0 &&
		(varve_cache_size == 0 || chunk_table_cached_blocks() < disk_space_hard_limit());
}

/* who logs page images over the hard limit gets a chance first (page_images.c) */
bool
disk_space_spares_nothing(void)
{
	uint64		limit = disk_space_hard_limit();

	return varve_cache_size == 0 || pg_atomic_read_u32(&state->nearly_full) != 0 ||
		chunk_table_cached_blocks() > limit + limit / 8;
}

void
disk_space_note_growth(void)
{
	if (chunk_table_cached_blocks() > varve_cache_size)
		evictor_wake();
}

/* two looks from now on a round of eviction that began after now is over */
static void
wait_for_evictor(void)
{
	uint64		enough = pg_atomic_read_u64(&state->looks) + 2;

	for (int waited = 0; waited < PATIENCE_MS; waited += PATIENCE_STEP_MS)
	{
		evictor_wake();
		pg_usleep(PATIENCE_STEP_MS * 1000L);
		if (pg_atomic_read_u64(&state->looks) >= enough)
			return;
	}
}

static bool
has_block(const ChunkKey *key, BlockNumber block)
{
	LWLock	   *lock = chunk_table_lock(key, LW_SHARED);
	ChunkEntry *entry = chunk_table_find(key);
	bool		valid = entry != NULL && block_bit(entry->chunk.valid, block);

	LWLockRelease(lock);
	return valid;
}

/* who may be refused: the statement fails. The checkpointer and its like may not. */
static bool
works_for_a_statement(void)
{
	return MyBackendType == B_BACKEND || MyBackendType == B_AUTOVAC_WORKER || IsParallelWorker();
}

/* false and errno */
static bool
allocate(int file, BlockNumber block)
{
	if (works_for_a_statement() && pg_atomic_read_u32(&state->exhausted) != 0)
	{
		errno = ENOSPC;
		return false;
	}
	return allocate_block(file, block);
}

void
disk_space_make_room(const ChunkKey *key, BlockNumber block)
{
	bool		allocated;
	int			file;

	look_sometimes();
	if (pg_atomic_read_u32(&state->nearly_full) == 0 || has_block(key, block))
		return;
	file = open_segment(key, block);
	/* a new segment, or a file that is gone: stock will say what is wrong */
	if (file < 0)
		return;
	allocated = allocate(file, block);
	if (!allocated && errno == ENOSPC)
	{
		count(&varve_counters->disk_full_waits, 1);
		wait_for_evictor();
		allocated = allocate(file, block);
	}
	if (!allocated && errno == ENOSPC)
	{
		close(file);
		ereport(ERROR,
				(errcode(ERRCODE_DISK_FULL),
				 errmsg("the local disk of this compute is full: block %u of relation %u/%u/%u has no room",
						block, key->relation.spc, key->relation.db, key->relation.rel),
				 errdetail("Nothing is lost: the page stays in memory, what was committed is on the safekeepers."),
				 errhint("Free space on the disk of \"%s\", or lower varve.cache_size.", DataDir)));
	}
	close(file);
}
