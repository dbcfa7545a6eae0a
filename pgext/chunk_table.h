/*
 * chunk_table.h: the shared-memory table behind the sparse cache.
 *
 *   chunk       128 consecutive blocks of a fork, aligned: 1 MiB, never across a 1 GiB segment
 *   partition   a share of the table with one LWLock; a chunk belongs to exactly one
 *   generation  number of the last change that a fill must not overwrite; from one global counter
 *   floor       LSN below which a missing block of a fork (or database) must not be read
 */
#ifndef VARVE_CHUNK_TABLE_H
#define VARVE_CHUNK_TABLE_H

#include "access/xlogdefs.h"
#include "common/relpath.h"
#include "storage/block.h"
#include "storage/lwlock.h"

#define VARVE_CHUNK_BLOCKS 128
#define CHUNK_WORDS (VARVE_CHUNK_BLOCKS / 64)

typedef struct RelationTag
{
	Oid			spc;
	Oid			db;
	Oid			rel;
} RelationTag;

typedef struct ChunkKey
{
	RelationTag relation;
	uint32		fork;			/* or RELATION_ENTRY */
	uint32		chunk;
} ChunkKey;

/* the fork number of the one entry per relation that holds its floors */
#define RELATION_ENTRY 255

typedef struct ChunkState
{
	uint64		valid[CHUNK_WORDS]; /* the local file holds the block */
	uint64		written[CHUNK_WORDS];	/* ... and this life wrote it: eviction may not drop it early */
	XLogRecPtr	last_write;		/* W: insert LSN sampled before the last write; 0: only read */
	XLogRecPtr	not_modified_since; /* P of the period that covered the last eviction; 0: none yet */
	uint64		generation;
	bool		zero_extended;	/* an all-zero block in here is no surprise */
	uint8		usage;			/* for the clock of the eviction */
} ChunkState;

typedef struct RelationState
{
	XLogRecPtr	floor[MAX_FORKNUM + 1];
	uint32		chunks[MAX_FORKNUM + 1];	/* one more than the highest chunk that ever had an entry */
} RelationState;

typedef struct ChunkEntry
{
	ChunkKey	key;
	int32		next;			/* index of the next entry of the bucket or of the free list, -1 */
	uint32		bucket_plus_one;	/* 0: free; may be read without a lock as a hint */
	union
	{
		ChunkState	chunk;
		RelationState relation;
	};
} ChunkEntry;

typedef struct ChunkTotals
{
	uint64		chunks;
	uint64		relations;
	uint64		valid_blocks;
	uint64		free_entries;
} ChunkTotals;

extern void chunk_table_request_shmem(void);
extern void chunk_table_start_shmem(void);

extern LWLock *chunk_table_lock(const ChunkKey *key, LWLockMode mode);

/* both under the partition's lock; enter needs it exclusive and gives NULL when the table is full */
extern ChunkEntry *chunk_table_find(const ChunkKey *key);
extern ChunkEntry *chunk_table_enter(const ChunkKey *key);
extern void chunk_table_remove(ChunkEntry *entry);

/* frees one entry that holds nothing this life has written; no lock may be held */
extern bool chunk_table_recycle_one(void);

extern uint64 chunk_table_next_generation(void);

/* removes all entries of a database, or of one tablespace of it */
extern void chunk_table_purge_database(Oid db, Oid spc);

/* floors of whole databases; database 0 has none (sparse-cache.md C3) */
extern XLogRecPtr chunk_table_database_floor(Oid db);
extern void chunk_table_raise_database_floor(Oid db, XLogRecPtr lsn);

extern void chunk_table_totals(ChunkTotals *totals);

static inline ChunkKey
chunk_key(RelationTag relation, ForkNumber fork, BlockNumber block)
{
	ChunkKey	key = {relation, (uint32) fork, block / VARVE_CHUNK_BLOCKS};

	return key;
}

static inline ChunkKey
relation_entry_key(RelationTag relation)
{
	ChunkKey	key = {relation, RELATION_ENTRY, 0};

	return key;
}

static inline bool
block_bit(const uint64 *words, BlockNumber block)
{
	uint32		bit = block % VARVE_CHUNK_BLOCKS;

	return (words[bit / 64] >> (bit % 64)) & 1;
}

static inline void
set_block_bit(uint64 *words, BlockNumber block)
{
	uint32		bit = block % VARVE_CHUNK_BLOCKS;

	words[bit / 64] |= UINT64CONST(1) << (bit % 64);
}

static inline void
clear_block_bit(uint64 *words, BlockNumber block)
{
	uint32		bit = block % VARVE_CHUNK_BLOCKS;

	words[bit / 64] &= ~(UINT64CONST(1) << (bit % 64));
}

#endif
