/* sparse_cache.h: relation files as a cache of the timeline */
#ifndef VARVE_SPARSE_CACHE_H
#define VARVE_SPARSE_CACHE_H

#include "storage/smgr.h"

#include "chunk_table.h"

extern void sparse_cache_request_shmem(void);
extern void sparse_cache_start_shmem(void);

/* consecutive blocks, each from the local file if it is valid there, else from the pageserver */
extern void sparse_cache_read(SMgrRelation relation, ForkNumber fork, BlockNumber block, char **pages,
							  uint32 count);

/* between begin and end of a write, the chunk's partition is locked */
typedef struct WriteInProgress
{
	LWLock	   *lock;
	ChunkEntry *entry;
	BlockNumber block;
	uint32		count;
	const char *page;			/* of each of them */
	XLogRecPtr	insert_lsn;		/* W: sampled before the write */
} WriteInProgress;

/* around a stock write or extension; only begin may fail */
extern void sparse_cache_begin_write(SMgrRelation relation, ForkNumber fork, BlockNumber block,
									 const char *page, WriteInProgress *write);

/* before an extension by zeros; how many of the blocks may be added now: those in the same chunk */
extern uint32 sparse_cache_begin_zeros(SMgrRelation relation, ForkNumber fork, BlockNumber block,
									   uint32 count, WriteInProgress *write);
extern void sparse_cache_end_write(WriteInProgress *write);

extern bool sparse_cache_is_valid(RelationTag relation, ForkNumber fork, BlockNumber block);

/*
 * On a replica: a change of the block in WAL will not be made here.  False: it
 * has to be, since the local file holds the block.  Fills under way are not
 * stored.
 */
extern bool sparse_cache_pass_over(RelationTag relation, ForkNumber fork, BlockNumber block);

/*
 * Around the making of a fork.  begin may fail and forgets nothing; end leaves
 * nothing of a former relation of that number.
 */
extern void sparse_cache_begin_create(RelationTag relation, ForkNumber fork);
extern void sparse_cache_end_create(RelationTag relation, ForkNumber fork);

/* the relation turns out to be unlogged: its files are none of ours */
extern void sparse_cache_note_init_fork(RelationTag relation);

/* no error, no allocation in these two: they run in critical sections and after commit */
extern void sparse_cache_note_truncate(RelationTag relation, ForkNumber fork, BlockNumber blocks);
extern void sparse_cache_note_unlink(RelationTag relation, ForkNumber fork);

/* the directories of a database were removed, or copied to another place */
extern void sparse_cache_note_database_gone(Oid db);
extern void sparse_cache_note_database_moved(Oid db);

#endif
