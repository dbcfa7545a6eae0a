/*
 * chunk_table.h: the shared-memory table behind the sparse cache.
 *
 *   chunk       varve.chunk_blocks consecutive blocks of a fork, aligned; never across a 1 GiB segment
 *   partition   a share of the table with one LWLock; a chunk belongs to exactly one
 *   generation  number of the last change that a fill must not overwrite; from one global counter
 *   floor       LSN below which a missing block of a fork (or database) must not be read
 *   kept        a block that is never evicted: of a map, a shared catalog or a sequence
 */
#ifndef VARVE_CHUNK_TABLE_H
#define VARVE_CHUNK_TABLE_H

#include "access/transam.h"
#include "access/xlogdefs.h"
#include "common/relpath.h"
#include "port/atomics.h"
#include "storage/block.h"
#include "storage/lwlock.h"

#include "gucs.h"

/* the most blocks that a chunk can have; how many it has is varve.chunk_blocks */
#define CHUNK_BLOCKS_MAX 128
#define CHUNK_WORDS (CHUNK_BLOCKS_MAX / 64)

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

	/*
	 * ... and it differs, or may differ, from what WAL says: this life wrote
	 * it, and no grace period has covered that yet.  Of a free space map: no
	 * image of it is in WAL.
	 */
	uint64		written[CHUNK_WORDS];
	uint64		dropped[CHUNK_WORDS];	/* evicted, and not there again since */

	/*
	 * W: insert LSN sampled before the last write; 0: none that is uncovered.
	 * On a replica, where none is: end of the newest record in what redo wrote.
	 */
	XLogRecPtr	last_write;
	XLogRecPtr	not_modified_since; /* P of the period that covered the writes so far; 0: none yet */
	uint64		generation;
	uint64		last_change;	/* the generation that the last write or truncation made; eviction makes others */
	int32		relation;		/* index of the relation's entry */
	bool		zero_extended;	/* an all-zero block in here is no surprise */
	bool		sequence;		/* block 0 is a sequence's: its page is ahead of WAL on purpose */
	uint8		usage;			/* for the clock of the eviction; changed under the shared lock too */
} ChunkState;

typedef struct RelationState
{
	pg_atomic_uint64 floor[MAX_FORKNUM + 1];
	pg_atomic_uint32 chunk_entries; /* entries of chunks, and processes about to make one */
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
	uint64		free_entries;
	uint64		cached_blocks;	/* valid and evictable once covered */
	uint64		kept_blocks;	/* valid and never evicted */
	uint64		written_blocks;	/* of the cached ones: not covered yet */
} ChunkTotals;

extern void chunk_table_request_shmem(void);
extern void chunk_table_start_shmem(void);

extern LWLock *chunk_table_lock(const ChunkKey *key, LWLockMode mode);

/* under the partition's lock */
extern ChunkEntry *chunk_table_find(const ChunkKey *key);

/* under the partition's lock, exclusively; of a relation: only if no chunk has an entry */
extern void chunk_table_remove(ChunkEntry *entry);

/*
 * The entry, made if it is missing, with its partition locked exclusively;
 * others that may be forgotten give way.  NULL: there is no room, no lock is held.
 */
extern ChunkEntry *chunk_table_lock_chunk(const ChunkKey *key, LWLock **lock);
extern ChunkEntry *chunk_table_lock_relation(RelationTag relation, LWLock **lock);

/* how many chunks of the fork, from its start, may have entries */
extern uint32 chunk_table_chunks_of(RelationTag relation, ForkNumber fork);
extern void chunk_table_forget_relation(RelationTag relation);

/* entries by number, for those who go through all of them; NULL: free, or moved meanwhile */
extern uint32 chunk_table_entries_used(void);
extern uint32 chunk_table_free_entries(void);
extern const ChunkEntry *chunk_table_peek(uint32 index);
extern ChunkEntry *chunk_table_lock_entry(uint32 index, LWLock **lock);

extern uint64 chunk_table_next_generation(void);

/* a block of the chunk was written, or cut off */
extern void chunk_note_change(ChunkEntry *entry);

/* bits and their accounts; under the partition's lock, exclusively */
extern void chunk_set_valid(ChunkEntry *entry, BlockNumber block);
extern void chunk_clear_valid(ChunkEntry *entry, BlockNumber block);
extern void chunk_note_sequence(ChunkEntry *entry);

/* marks of blocks that WAL does not tell in full; with the last of them W goes, too */
extern void chunk_set_written(ChunkEntry *entry, BlockNumber block, XLogRecPtr insert_lsn);
extern void chunk_clear_written(ChunkEntry *entry, const uint64 *blocks);

/* the lowest LSN at which a missing block of the fork may be read, as its relation and database know */
extern XLogRecPtr chunk_table_floor(const ChunkEntry *entry, const ChunkKey *key);
extern void chunk_table_raise_floor(ChunkEntry *relation_entry, uint32 fork, XLogRecPtr lsn);

/* removes all entries of a database */
extern void chunk_table_purge_database(Oid db);

/* floors of whole databases; database 0 has none (docs/sparse-cache.md C3) */
extern void chunk_table_raise_database_floor(Oid db, XLogRecPtr lsn);

/*
 * true: redo has changed the chunk, and is still at work on the same record.  A
 * reader who fetched a block of it now would get it as of before that record,
 * and keep it.
 */
extern bool chunk_is_ahead_of_replay(const ChunkEntry *entry);

/* true: so many chunks have uncovered writes that there may soon be no entry for another one */
extern bool chunk_table_is_crowded(void);

extern uint64 chunk_table_cached_blocks(void);
extern uint64 chunk_table_catalog_blocks(void);
extern void chunk_table_totals(ChunkTotals *totals);

static inline ChunkKey
chunk_key(RelationTag relation, ForkNumber fork, BlockNumber block)
{
	ChunkKey	key = {relation, (uint32) fork, block / varve_chunk_blocks};

	return key;
}

static inline BlockNumber
chunk_first_block(const ChunkKey *key)
{
	return key->chunk * varve_chunk_blocks;
}

/* blocks of these are never evicted (docs/sparse-cache.md C3, D6) */
static inline bool
chunk_is_kept(const ChunkEntry *entry)
{
	return entry->key.fork != MAIN_FORKNUM || !OidIsValid(entry->key.relation.db) ||
		entry->chunk.sequence;
}

/* of a database's system catalogs: what logging in needs is among them */
static inline bool
chunk_is_catalog(const ChunkEntry *entry)
{
	return entry->key.relation.rel < FirstNormalObjectId && !chunk_is_kept(entry);
}

static inline bool
block_bit(const uint64 *words, BlockNumber block)
{
	uint32		bit = block % varve_chunk_blocks;

	return (words[bit / 64] >> (bit % 64)) & 1;
}

static inline void
set_block_bit(uint64 *words, BlockNumber block)
{
	uint32		bit = block % varve_chunk_blocks;

	words[bit / 64] |= UINT64CONST(1) << (bit % 64);
}

static inline void
clear_block_bit(uint64 *words, BlockNumber block)
{
	uint32		bit = block % varve_chunk_blocks;

	words[bit / 64] &= ~(UINT64CONST(1) << (bit % 64));
}

static inline bool
any_block_bit(const uint64 *words)
{
	return (words[0] | words[1]) != 0;
}

#endif
