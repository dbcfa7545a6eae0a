/* sparse_cache.h: relation files as a cache of the timeline */
#ifndef VARVE_SPARSE_CACHE_H
#define VARVE_SPARSE_CACHE_H

#include "storage/smgr.h"

#include "chunk_table.h"

extern void sparse_cache_request_shmem(void);
extern void sparse_cache_start_shmem(void);

/* one block, from the local file if it is valid there, else from the pageserver */
extern void sparse_cache_read(SMgrRelation relation, ForkNumber fork, BlockNumber block, char *page);

/*
 * Around a stock write or extension of one block.  The lock that begin returns
 * is held over it and released by end.
 */
extern LWLock *sparse_cache_begin_write(SMgrRelation relation, ForkNumber fork, BlockNumber block,
										bool zero_page, ChunkEntry **entry, XLogRecPtr *insert_lsn);
extern void sparse_cache_end_write(LWLock *lock, ChunkEntry *entry, BlockNumber block,
								   XLogRecPtr insert_lsn);

extern bool sparse_cache_is_valid(RelationTag relation, ForkNumber fork, BlockNumber block);

/*
 * Around the making of a fork.  begin may fail and forgets nothing; end leaves
 * nothing of a former relation of that number.
 */
extern void sparse_cache_begin_create(RelationTag relation, ForkNumber fork);
extern void sparse_cache_end_create(RelationTag relation, ForkNumber fork);

/* no error, no allocation in these two: they run in critical sections and after commit */
extern void sparse_cache_note_truncate(RelationTag relation, ForkNumber fork, BlockNumber blocks);
extern void sparse_cache_note_unlink(RelationTag relation, ForkNumber fork);

/* the insert position, never one that points just behind a page header */
extern XLogRecPtr sparse_cache_insert_lsn(void);

#endif
