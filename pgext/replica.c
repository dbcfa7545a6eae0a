/*
 * replica.c: a stock hot standby on remote pages.
 *
 * Redo is the only writer, and all that it writes is in WAL.  So a block that
 * is not in the cache need not be changed: the pageserver applies the same
 * record, and who reads the block asks for it as of the LSN that is replayed.
 * Records of which no block is cached are passed over; else a replica would
 * fetch each page that the primary writes, one round trip after the other.
 *
 * The resource managers' redo functions are in a table of the server's, where
 * ours take the place of those that change pages most: heaps and B-trees.  All
 * other records are replayed by stock, which fetches what it changes, as of
 * the end of the record before.
 *
 * The race.  A reader puts its block into the buffers' table, then reads the
 * local file or asks the pageserver.  The startup process announces the end of
 * the record that it is about to pass over, then looks whether a block of it is
 * in the buffers or valid in the local file: at both in one moment, while
 * nothing comes into the buffers or leaves them.  Between two looks the page
 * could go from the one to the other, and by way of the file, which may be
 * evicted, also back.
 *   - The reader came first: the block is found, stock replays the record, and
 *     waits for the reader's page to come in.
 *   - The announcement came first: the reader sees it, waits until that record
 *     counts as replayed, which is a matter of microseconds, and asks for the
 *     page with it.
 *   - Blocks that come along with the asked one, and answers to requests that
 *     were sent ahead, are stored or used only if nothing in their chunk has
 *     changed since they were asked for; passing over is such a change.
 * Queries that conflict with the record have ended before it is announced, so
 * nobody waits for somebody who waits for him.
 *
 * A static replica has no WAL behind its start and reads everything as of there.
 */
#include "postgres.h"

#include <signal.h>
#include <sys/stat.h>

#include "access/rmgr.h"
#include "access/visibilitymap.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogrecovery.h"
#include "catalog/pg_tablespace.h"
#include "commands/tablespace.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/bufpage.h"
#include "storage/fd.h"
#include "storage/shmem.h"

#include "gucs.h"
#include "redo.h"
#include "replica.h"
#include "sparse_cache.h"

/* a record has at most XLR_MAX_BLOCK_ID + 1; ours have four, and the maps of two */
#define TOUCHED_MAX 8
#define WAIT_STEP_US 10

/* as visibilitymap.c places a heap block's bits */
#define MAP_BYTES_PER_PAGE (BLCKSZ - MAXALIGN(SizeOfPageHeaderData))
#define HEAP_BLOCKS_PER_MAP_PAGE (MAP_BYTES_PER_PAGE * BITS_PER_BYTE / BITS_PER_HEAPBLOCK)

typedef struct ReplicaState
{
	/* end of the record that is being passed over, or was the last to be; 0: none */
	pg_atomic_uint64 passing_over;
	pg_atomic_uint64 replayed;
	pg_atomic_uint64 passed_over;
} ReplicaState;

typedef struct Touched
{
	BlockTag	blocks[TOUCHED_MAX];
	int			count;
} Touched;

typedef void (*RedoFunction) (XLogReaderState *record);

static ReplicaState *state = NULL;
static RedoFunction stock_redo[RM_MAX_ID + 1];

void
replica_request_shmem(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(ReplicaState)));
}

void
replica_start_shmem(void)
{
	bool		found;

	state = ShmemInitStruct("varve replica", sizeof(ReplicaState), &found);
	if (found)
		return;
	pg_atomic_init_u64(&state->passing_over, 0);
	pg_atomic_init_u64(&state->replayed, 0);
	pg_atomic_init_u64(&state->passed_over, 0);
}

uint64
replica_records_replayed(void)
{
	return pg_atomic_read_u64(&state->replayed);
}

uint64
replica_records_passed_over(void)
{
	return pg_atomic_read_u64(&state->passed_over);
}

XLogRecPtr
replica_read_lsn(void)
{
	XLogRecPtr	replayed;

	if (varve_static)
		return varve_start_lsn;
	/* the block is in the buffers' table by now, and whoever passes over looks there after he has said so */
	pg_memory_barrier();
	while ((replayed = GetXLogReplayRecPtr(NULL)) < pg_atomic_read_u64(&state->passing_over))
	{
		CHECK_FOR_INTERRUPTS();
		pg_usleep(WAIT_STEP_US);
	}
	return Max(replayed, varve_start_lsn);
}

void
replica_refuse_promotion(void)
{
	static bool in_recovery = false;

	if (RecoveryInProgress())
		in_recovery = true;
	else if (in_recovery)
	{
		ereport(LOG,
				(errmsg("varve: this replica was promoted, and no safekeeper would keep what it writes: it ends"),
				 errhint("Use \"varve endpoint promote\".")));
		kill(PostmasterPid, SIGQUIT);
	}
}

static bool
add_touched(Touched *touched, const BlockTag *tag)
{
	if (touched->count == TOUCHED_MAX)
		return false;
	touched->blocks[touched->count++] = *tag;
	return true;
}

/* the page of the visibility map that has the heap block's bits */
static BlockTag
map_block(const BlockTag *heap)
{
	BlockTag	map = {heap->relation, VISIBILITYMAP_FORKNUM, heap->block / HEAP_BLOCKS_PER_MAP_PAGE};

	return map;
}

/* false: stock has to replay the record, whatever is cached */
static bool
find_touched(XLogReaderState *record, Touched *touched)
{
	uint32		clears = redo_clears_visibility(record);

	touched->count = 0;
	for (int id = 0; id <= XLogRecMaxBlockId(record); id++)
	{
		BlockTag	tag;

		if (!redo_block(record, id, &tag))
			continue;
		/* shared catalogs are few; of unlogged relations nothing but the init fork is in WAL, and they are local */
		if (!OidIsValid(tag.relation.db) || tag.fork == INIT_FORKNUM)
			return false;
		/* a file grows as it does in stock */
		if (tag.block >= redo_block_count(&tag) || !add_touched(touched, &tag))
			return false;
		if ((clears & (1U << id)) != 0)
		{
			BlockTag	map = map_block(&tag);

			if (!add_touched(touched, &map))
				return false;
		}
	}
	return touched->count > 0;
}

static bool
is_buffered(const BlockTag *tag)
{
	LWLock	   *mapping_lock;
	bool		found = buffer_lookup(tag, &mapping_lock) >= 0;

	LWLockRelease(mapping_lock);
	return found;
}

static bool
is_cached(const BlockTag *tag)
{
	return is_buffered(tag) || sparse_cache_is_valid(tag->relation, tag->fork, tag->block);
}

static bool
any_is_cached(const Touched *touched)
{
	for (int i = 0; i < touched->count; i++)
		if (is_cached(&touched->blocks[i]))
			return true;
	return false;
}

/*
 * With the block not in the buffers, and none of it able to come in, nobody is
 * reading it or writing it out: valid or not, that it stays.
 */
static bool
pass_over_block(const BlockTag *tag)
{
	LWLock	   *mapping_lock;
	bool		passed = buffer_lookup(tag, &mapping_lock) < 0 &&
		sparse_cache_pass_over(tag->relation, tag->fork, tag->block);

	LWLockRelease(mapping_lock);
	return passed;
}

static bool
pass_over(XLogReaderState *record)
{
	Touched		touched;

	if (!redo_is_of_pages_alone(record) || !find_touched(record, &touched))
		return false;
	if (redo_conflicts(record))
	{
		/* stock does it itself */
		if (any_is_cached(&touched))
			return false;
		redo_resolve_conflicts(record);
	}
	pg_atomic_write_u64(&state->passing_over, record->EndRecPtr);
	pg_memory_barrier();
	for (int i = 0; i < touched.count; i++)
		if (!pass_over_block(&touched.blocks[i]))
		{
			pg_atomic_write_u64(&state->passing_over, 0);
			return false;
		}
	/* it stays announced: from the moment that it counts as replayed nobody waits for it */
	pg_atomic_fetch_add_u64(&state->passed_over, 1);
	if (unlikely(varve_test_delay > 0))
		pg_usleep(varve_test_delay);
	return true;
}

static void
redo_pages(XLogReaderState *record)
{
	if (pass_over(record))
		return;
	if (XLogRecHasAnyBlockRefs(record))
		pg_atomic_fetch_add_u64(&state->replayed, 1);
	stock_redo[XLogRecGetRmid(record)] (record);
}

/* directories of databases come and go without a word to the storage manager (docs/sparse-cache.md A4) */
static void
redo_database(XLogReaderState *record)
{
	/* all of its records begin with it */
	Oid			db = *(Oid *) XLogRecGetData(record);

	sparse_cache_note_database_gone(db);
	stock_redo[RM_DBASE_ID] (record);
	sparse_cache_note_database_gone(db);
}

static void
make_directory(const char *path)
{
	if (MakePGDirectory(path) != 0 && errno != EEXIST)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m", path)));
}

/*
 * The directory that the primary's user named is the primary's: on the same
 * machine both would write into it.  A replica has its own, in place.
 */
static void
redo_tablespace(XLogReaderState *record)
{
	uint8		info = XLogRecGetInfo(record) & ~XLR_INFO_MASK;

	if (info == XLOG_TBLSPC_CREATE)
	{
		xl_tblspc_create_rec *created = (xl_tblspc_create_rec *) XLogRecGetData(record);

		make_directory(psprintf("pg_tblspc/%u", created->ts_id));
		make_directory(psprintf("pg_tblspc/%u/%s", created->ts_id, TABLESPACE_VERSION_DIRECTORY));
	}
	else
		stock_redo[RM_TBLSPC_ID] (record);
}

static void
replace_redo(RmgrId id, RedoFunction ours)
{
	stock_redo[id] = RmgrTable[id].rm_redo;
	RmgrTable[id].rm_redo = ours;
}

void
replica_install(void)
{
	replace_redo(RM_HEAP_ID, redo_pages);
	replace_redo(RM_HEAP2_ID, redo_pages);
	replace_redo(RM_BTREE_ID, redo_pages);
	replace_redo(RM_DBASE_ID, redo_database);
	replace_redo(RM_TBLSPC_ID, redo_tablespace);
}
