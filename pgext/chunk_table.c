/*
 * chunk_table.c: a hash table of fixed size in shared memory.
 *
 * Nothing here waits for the network, and in a critical section (smgr_truncate
 * is called in one) nothing allocates or raises an error.  All
 * entries exist from the start and move between buckets and one free list.
 * A bucket belongs to partition (bucket mod PARTITIONS); its chain is touched
 * only under that partition's lock.
 *
 * Recycling (docs/sparse-cache.md C4).  When the table is full, entries that hold
 * nothing this life must remember give way.  What such an entry knows of LSNs
 * goes up before it goes: a chunk's to the floor of its relation, a relation's
 * to the floor of its database.  Who makes an entry anew reads the floors
 * after it has looked for the entry, so it sees either the one or the other.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "storage/spin.h"

#include "chunk_table.h"
#include "counters.h"
#include "eviction.h"
#include "gucs.h"
#include "local_relations.h"

#define PARTITIONS 128
#define DATABASE_FLOORS 1024
#define TRANCHE "varve_chunks"
#define DATABASE_FLOOR_LOCK PARTITIONS
/* others may take what was made free before we come to it */
#define ENTER_TRIES 16

typedef struct DatabaseFloor
{
	Oid			db;
	XLogRecPtr	floor;
} DatabaseFloor;

typedef struct ChunkTable
{
	pg_atomic_uint64 generation;
	pg_atomic_uint64 cached_blocks;
	pg_atomic_uint64 catalog_blocks;	/* of the cached ones */
	pg_atomic_uint64 kept_blocks;
	pg_atomic_uint32 written_chunks;	/* with uncovered writes: their entries cannot be recycled */
	pg_atomic_uint32 clock_hand;
	pg_atomic_uint32 entries_used;	/* entries from this number on have never been used */
	slock_t		free_lock;
	int32		free_head;
	uint32		free_count;
	int			database_floors;
	XLogRecPtr	other_databases_floor;	/* stands for those that found no place below */
	DatabaseFloor database_floor[DATABASE_FLOORS];
} ChunkTable;

static ChunkTable *table = NULL;
static int32 *buckets = NULL;
static ChunkEntry *entries = NULL;
static LWLockPadded *locks = NULL;

/* a power of two, so that the partition follows from the bucket */
static uint32
bucket_count(void)
{
	return Max(PARTITIONS, pg_nextpower2_32((uint32) varve_cache_entries));
}

static Size
buckets_size(void)
{
	return mul_size(bucket_count(), sizeof(int32));
}

static Size
entries_size(void)
{
	return mul_size(varve_cache_entries, sizeof(ChunkEntry));
}

void
chunk_table_request_shmem(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(ChunkTable)));
	RequestAddinShmemSpace(MAXALIGN(buckets_size()));
	RequestAddinShmemSpace(MAXALIGN(entries_size()));
	RequestNamedLWLockTranche(TRANCHE, PARTITIONS + 1);
}

static void
initialise(void)
{
	memset(table, 0, sizeof(ChunkTable));
	pg_atomic_init_u64(&table->generation, 1);
	pg_atomic_init_u64(&table->cached_blocks, 0);
	pg_atomic_init_u64(&table->catalog_blocks, 0);
	pg_atomic_init_u64(&table->kept_blocks, 0);
	pg_atomic_init_u32(&table->written_chunks, 0);
	pg_atomic_init_u32(&table->clock_hand, 0);
	pg_atomic_init_u32(&table->entries_used, 0);
	SpinLockInit(&table->free_lock);
	table->free_count = varve_cache_entries;

	for (uint32 i = 0; i < bucket_count(); i++)
		buckets[i] = -1;
	for (int32 i = 0; i < varve_cache_entries; i++)
	{
		entries[i].bucket_plus_one = 0;
		entries[i].next = i + 1 < varve_cache_entries ? i + 1 : -1;
	}
}

void
chunk_table_start_shmem(void)
{
	bool		found;
	bool		found_part;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	table = ShmemInitStruct("varve chunk table", sizeof(ChunkTable), &found);
	buckets = ShmemInitStruct("varve chunk buckets", buckets_size(), &found_part);
	entries = ShmemInitStruct("varve chunk entries", entries_size(), &found_part);
	locks = GetNamedLWLockTranche(TRANCHE);
	if (!found)
		initialise();
	LWLockRelease(AddinShmemInitLock);
}

static uint32
bucket_of(const ChunkKey *key)
{
	return hash_bytes((const unsigned char *) key, sizeof(ChunkKey)) & (bucket_count() - 1);
}

static LWLock *
partition_lock(uint32 bucket)
{
	return &locks[bucket % PARTITIONS].lock;
}

static bool
same_key(const ChunkKey *a, const ChunkKey *b)
{
	return memcmp(a, b, sizeof(ChunkKey)) == 0;
}

static ChunkKey
relation_entry_key(RelationTag relation)
{
	ChunkKey	key = {relation, RELATION_ENTRY, 0};

	return key;
}

static RelationState *
relation_of(const ChunkEntry *chunk_entry)
{
	return &entries[chunk_entry->chunk.relation].relation;
}

LWLock *
chunk_table_lock(const ChunkKey *key, LWLockMode mode)
{
	LWLock	   *lock = partition_lock(bucket_of(key));

	LWLockAcquire(lock, mode);
	return lock;
}

ChunkEntry *
chunk_table_find(const ChunkKey *key)
{
	for (int32 i = buckets[bucket_of(key)]; i >= 0; i = entries[i].next)
		if (same_key(&entries[i].key, key))
			return &entries[i];
	return NULL;
}

static ChunkEntry *
take_free_entry(void)
{
	ChunkEntry *entry = NULL;

	SpinLockAcquire(&table->free_lock);
	if (table->free_head >= 0)
	{
		uint32		used = table->free_head + 1;

		entry = &entries[table->free_head];
		table->free_head = entry->next;
		table->free_count--;
		if (used > pg_atomic_read_u32(&table->entries_used))
			pg_atomic_write_u32(&table->entries_used, used);
	}
	SpinLockRelease(&table->free_lock);
	return entry;
}

/* finds or makes; NULL: the table is full */
static ChunkEntry *
enter(const ChunkKey *key, bool *made)
{
	uint32		bucket = bucket_of(key);
	ChunkEntry *entry = chunk_table_find(key);

	*made = false;
	if (entry != NULL)
		return entry;
	entry = take_free_entry();
	if (entry == NULL)
		return NULL;

	*made = true;
	memset(entry, 0, sizeof(ChunkEntry));
	entry->key = *key;
	if (key->fork == RELATION_ENTRY)
	{
		for (int fork = 0; fork <= MAX_FORKNUM; fork++)
			pg_atomic_init_u64(&entry->relation.floor[fork], InvalidXLogRecPtr);
		pg_atomic_init_u32(&entry->relation.chunk_entries, 0);
	}
	else
		entry->chunk.generation = chunk_table_next_generation();
	entry->next = buckets[bucket];
	entry->bucket_plus_one = bucket + 1;
	buckets[bucket] = entry - entries;
	return entry;
}

/* of blocks that become valid, or are none any more (a negative number) */
static void
account(const ChunkEntry *entry, int64 blocks)
{
	pg_atomic_fetch_add_u64(chunk_is_kept(entry) ? &table->kept_blocks : &table->cached_blocks, blocks);
	if (chunk_is_catalog(entry))
		pg_atomic_fetch_add_u64(&table->catalog_blocks, blocks);
}

static int64
valid_blocks(const ChunkEntry *entry)
{
	int64		valid = 0;

	for (int word = 0; word < CHUNK_WORDS; word++)
		valid += pg_popcount64(entry->chunk.valid[word]);
	return valid;
}

static const uint64 all_blocks[CHUNK_WORDS] = {PG_UINT64_MAX, PG_UINT64_MAX};

void
chunk_set_written(ChunkEntry *entry, BlockNumber block, XLogRecPtr insert_lsn)
{
	if (!any_block_bit(entry->chunk.written))
		pg_atomic_fetch_add_u32(&table->written_chunks, 1);
	set_block_bit(entry->chunk.written, block);
	entry->chunk.last_write = Max(entry->chunk.last_write, insert_lsn);
}

void
chunk_clear_written(ChunkEntry *entry, const uint64 *blocks)
{
	if (!any_block_bit(entry->chunk.written))
		return;
	for (int word = 0; word < CHUNK_WORDS; word++)
		entry->chunk.written[word] &= ~blocks[word];
	if (any_block_bit(entry->chunk.written))
		return;
	entry->chunk.last_write = InvalidXLogRecPtr;
	pg_atomic_fetch_sub_u32(&table->written_chunks, 1);
}

bool
chunk_is_ahead_of_replay(const ChunkEntry *entry)
{
	return RecoveryInProgress() && entry->chunk.last_write > GetXLogReplayRecPtr(NULL);
}

static void
forget_chunk(ChunkEntry *entry)
{
	account(entry, -valid_blocks(entry));
	chunk_clear_written(entry, all_blocks);
	pg_atomic_fetch_sub_u32(&relation_of(entry)->chunk_entries, 1);
}

void
chunk_table_remove(ChunkEntry *entry)
{
	int32		index = entry - entries;
	int32	   *link = &buckets[entry->bucket_plus_one - 1];

	if (entry->key.fork != RELATION_ENTRY)
		forget_chunk(entry);
	else if (pg_atomic_read_u32(&entry->relation.chunk_entries) > 0)
		return;

	while (*link != index)
		link = &entries[*link].next;
	*link = entry->next;
	entry->bucket_plus_one = 0;

	SpinLockAcquire(&table->free_lock);
	entry->next = table->free_head;
	table->free_head = index;
	table->free_count++;
	SpinLockRelease(&table->free_lock);
}

uint64
chunk_table_next_generation(void)
{
	return pg_atomic_fetch_add_u64(&table->generation, 1);
}

void
chunk_note_change(ChunkEntry *entry)
{
	entry->chunk.generation = chunk_table_next_generation();
	entry->chunk.last_change = entry->chunk.generation;
}

uint32
chunk_table_entries_used(void)
{
	return pg_atomic_read_u32(&table->entries_used);
}

/* without its lock: who needs an entry takes one and sees */
uint32
chunk_table_free_entries(void)
{
	return *(volatile uint32 *) &table->free_count;
}

const ChunkEntry *
chunk_table_peek(uint32 index)
{
	const volatile ChunkEntry *entry = &entries[index];

	return entry->bucket_plus_one == 0 ? NULL : (const ChunkEntry *) entry;
}

ChunkEntry *
chunk_table_lock_entry(uint32 index, LWLock **lock)
{
	ChunkEntry *entry = &entries[index];
	uint32		hint = *(volatile uint32 *) &entry->bucket_plus_one;

	if (hint == 0)
		return NULL;
	*lock = partition_lock(hint - 1);
	LWLockAcquire(*lock, LW_EXCLUSIVE);
	if (entry->bucket_plus_one == hint)
		return entry;
	LWLockRelease(*lock);
	return NULL;
}

static void
raise_to(pg_atomic_uint64 *floor, XLogRecPtr lsn)
{
	uint64		known = pg_atomic_read_u64(floor);

	while (known < lsn && !pg_atomic_compare_exchange_u64(floor, &known, lsn))
		;
}

void
chunk_table_raise_floor(ChunkEntry *relation_entry, uint32 fork, XLogRecPtr lsn)
{
	raise_to(&relation_entry->relation.floor[fork], lsn);
}

/*
 * A chunk may go if this life wrote nothing in it that is not covered, or not
 * replayed in full: what it had cached is fetched again.  Shared catalogs have
 * no floor to raise, but they are never evicted either, so such an entry has no
 * LSN to hand over.
 */
static bool
recycle_chunk(ChunkEntry *entry)
{
	if (any_block_bit(entry->chunk.written) || chunk_is_ahead_of_replay(entry))
		return false;
	if (!OidIsValid(entry->key.relation.db) && !XLogRecPtrIsInvalid(entry->chunk.not_modified_since))
		return false;
	/* what is forgotten must not take up the disk; a critical section has no time for that */
	if (CritSectionCount == 0)
		(void) eviction_drop(entry);
	raise_to(&relation_of(entry)->floor[entry->key.fork], entry->chunk.not_modified_since);
	chunk_table_remove(entry);
	return true;
}

static bool
recycle_relation(ChunkEntry *entry)
{
	XLogRecPtr	highest = InvalidXLogRecPtr;

	if (pg_atomic_read_u32(&entry->relation.chunk_entries) > 0)
		return false;
	for (int fork = 0; fork <= MAX_FORKNUM; fork++)
		highest = Max(highest, pg_atomic_read_u64(&entry->relation.floor[fork]));
	chunk_table_raise_database_floor(entry->key.relation.db, highest);
	chunk_table_remove(entry);
	return true;
}

static bool
recycle(uint32 index, bool relation)
{
	LWLock	   *lock;
	ChunkEntry *entry;
	bool		recycled = false;

	local_relations_lock(LW_SHARED);
	entry = chunk_table_lock_entry(index, &lock);
	if (entry != NULL)
	{
		if ((entry->key.fork == RELATION_ENTRY) == relation)
			recycled = relation ? recycle_relation(entry) : recycle_chunk(entry);
		LWLockRelease(lock);
	}
	local_relations_unlock();
	return recycled;
}

/* one round of the clock over entries of one kind; no lock may be held */
static bool
recycle_one_of(bool relations)
{
	for (int32 tries = 0; tries < varve_cache_entries; tries++)
	{
		uint32		hand = pg_atomic_fetch_add_u32(&table->clock_hand, 1) % varve_cache_entries;

		if (recycle(hand, relations))
		{
			count(&varve_counters->recycled_entries, 1);
			return true;
		}
	}
	return false;
}

/* relations last: their floors become those of the whole database, and misses wait for them */
static bool
recycle_one(void)
{
	return recycle_one_of(false) || recycle_one_of(true);
}

static ChunkEntry *
enter_with_room(const ChunkKey *key, LWLock **lock, bool *made)
{
	for (int tries = 0; tries < ENTER_TRIES; tries++)
	{
		ChunkEntry *entry;

		*lock = chunk_table_lock(key, LW_EXCLUSIVE);
		entry = enter(key, made);
		if (entry != NULL)
			return entry;
		LWLockRelease(*lock);
		if (!recycle_one())
			break;
	}
	return NULL;
}

ChunkEntry *
chunk_table_lock_relation(RelationTag relation, LWLock **lock)
{
	ChunkKey	key = relation_entry_key(relation);
	bool		made;

	return enter_with_room(&key, lock, &made);
}

uint32
chunk_table_chunks_of(RelationTag relation, ForkNumber fork)
{
	ChunkKey	key = relation_entry_key(relation);
	LWLock	   *lock = chunk_table_lock(&key, LW_SHARED);
	ChunkEntry *entry = chunk_table_find(&key);
	uint32		chunks = entry != NULL ? entry->relation.chunks[fork] : 0;

	LWLockRelease(lock);
	return chunks;
}

void
chunk_table_forget_relation(RelationTag relation)
{
	ChunkKey	key = relation_entry_key(relation);
	LWLock	   *lock = chunk_table_lock(&key, LW_EXCLUSIVE);
	ChunkEntry *entry = chunk_table_find(&key);

	if (entry != NULL)
		chunk_table_remove(entry);
	LWLockRelease(lock);
}

/* the relation must know of the chunk before it has an entry, or a drop would miss it */
static ChunkEntry *
announce_chunk(const ChunkKey *key)
{
	LWLock	   *lock;
	ChunkEntry *relation = chunk_table_lock_relation(key->relation, &lock);

	if (relation == NULL)
		return NULL;
	pg_atomic_fetch_add_u32(&relation->relation.chunk_entries, 1);
	relation->relation.chunks[key->fork] = Max(relation->relation.chunks[key->fork], key->chunk + 1);
	LWLockRelease(lock);
	return relation;
}

ChunkEntry *
chunk_table_lock_chunk(const ChunkKey *key, LWLock **lock)
{
	ChunkEntry *entry;
	ChunkEntry *relation;
	bool		made;

	*lock = chunk_table_lock(key, LW_EXCLUSIVE);
	entry = chunk_table_find(key);
	if (entry != NULL)
		return entry;
	LWLockRelease(*lock);

	relation = announce_chunk(key);
	if (relation == NULL)
		return NULL;
	entry = enter_with_room(key, lock, &made);
	if (entry != NULL && made)
		entry->chunk.relation = relation - entries;
	else
		pg_atomic_fetch_sub_u32(&relation->relation.chunk_entries, 1);
	return entry;
}

void
chunk_set_valid(ChunkEntry *entry, BlockNumber block)
{
	if (block_bit(entry->chunk.valid, block))
		return;
	set_block_bit(entry->chunk.valid, block);
	account(entry, 1);
}

void
chunk_clear_valid(ChunkEntry *entry, BlockNumber block)
{
	if (!block_bit(entry->chunk.valid, block))
		return;
	clear_block_bit(entry->chunk.valid, block);
	account(entry, -1);
}

void
chunk_note_sequence(ChunkEntry *entry)
{
	if (chunk_is_kept(entry))
		return;
	account(entry, -valid_blocks(entry));
	entry->chunk.sequence = true;
	account(entry, valid_blocks(entry));
}

uint64
chunk_table_cached_blocks(void)
{
	return pg_atomic_read_u64(&table->cached_blocks);
}

bool
chunk_table_is_crowded(void)
{
	/* each of them may pin the entry of its relation, too */
	return pg_atomic_read_u32(&table->written_chunks) > varve_cache_entries / 4;
}

uint64
chunk_table_catalog_blocks(void)
{
	return pg_atomic_read_u64(&table->catalog_blocks);
}

static bool
remove_of_database(uint32 index, Oid db, bool relations)
{
	LWLock	   *lock;
	ChunkEntry *entry = chunk_table_lock_entry(index, &lock);

	if (entry == NULL)
		return false;
	if (entry->key.relation.db == db && (entry->key.fork == RELATION_ENTRY) == relations)
		chunk_table_remove(entry);
	LWLockRelease(lock);
	return true;
}

/* chunks first: a relation's entry stays while one of them points to it */
void
chunk_table_purge_database(Oid db)
{
	uint32		used = chunk_table_entries_used();

	for (uint32 i = 0; i < used; i++)
		remove_of_database(i, db, false);
	for (uint32 i = 0; i < used; i++)
		remove_of_database(i, db, true);
}

static DatabaseFloor *
find_database_floor(Oid db)
{
	for (int i = 0; i < table->database_floors; i++)
		if (table->database_floor[i].db == db)
			return &table->database_floor[i];
	return NULL;
}

static XLogRecPtr
database_floor(Oid db)
{
	LWLock	   *lock = &locks[DATABASE_FLOOR_LOCK].lock;
	DatabaseFloor *known;
	XLogRecPtr	floor;

	LWLockAcquire(lock, LW_SHARED);
	known = find_database_floor(db);
	floor = known != NULL ? known->floor : table->other_databases_floor;
	LWLockRelease(lock);
	return floor;
}

/* with no entry of the chunk at hand: whatever had one has handed its LSN over */
static XLogRecPtr
relation_floor(const ChunkKey *key)
{
	ChunkKey	relation_key = relation_entry_key(key->relation);
	LWLock	   *lock = chunk_table_lock(&relation_key, LW_SHARED);
	ChunkEntry *entry = chunk_table_find(&relation_key);
	XLogRecPtr	floor = InvalidXLogRecPtr;

	if (entry != NULL)
		floor = pg_atomic_read_u64(&entry->relation.floor[key->fork]);
	LWLockRelease(lock);
	return floor;
}

/*
 * Shared catalogs have no floors (docs/sparse-cache.md C3): a walsender that
 * reconnects reads them, and would wait for WAL that only it can ship.  They
 * need none: their files grow block by block and are never evicted, so a block
 * of theirs that is missing is as old as the start.
 */
XLogRecPtr
chunk_table_floor(const ChunkEntry *entry, const ChunkKey *key)
{
	XLogRecPtr	floor;

	if (!OidIsValid(key->relation.db))
		return InvalidXLogRecPtr;
	if (entry != NULL)
		floor = Max(pg_atomic_read_u64(&relation_of(entry)->floor[key->fork]),
					entry->chunk.not_modified_since);
	else
		floor = relation_floor(key);
	/* the order matters: a relation's floor may be on its way to the database's */
	return Max(floor, database_floor(key->relation.db));
}

void
chunk_table_raise_database_floor(Oid db, XLogRecPtr lsn)
{
	LWLock	   *lock = &locks[DATABASE_FLOOR_LOCK].lock;
	DatabaseFloor *known;

	if (!OidIsValid(db) || XLogRecPtrIsInvalid(lsn))
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	known = find_database_floor(db);
	if (known == NULL && table->database_floors < DATABASE_FLOORS)
	{
		known = &table->database_floor[table->database_floors++];
		known->db = db;
		known->floor = table->other_databases_floor;
	}
	if (known != NULL)
		known->floor = Max(known->floor, lsn);
	else
		table->other_databases_floor = Max(table->other_databases_floor, lsn);
	LWLockRelease(lock);
}

/* without locks: a picture for people, not for decisions */
void
chunk_table_totals(ChunkTotals *totals)
{
	uint32		used = chunk_table_entries_used();

	memset(totals, 0, sizeof(ChunkTotals));
	for (uint32 i = 0; i < used; i++)
	{
		const ChunkEntry *entry = chunk_table_peek(i);

		if (entry == NULL)
			continue;
		if (entry->key.fork == RELATION_ENTRY)
		{
			totals->relations++;
			continue;
		}
		totals->chunks++;
		for (int word = 0; word < CHUNK_WORDS && !chunk_is_kept(entry); word++)
			totals->written_blocks += pg_popcount64(entry->chunk.written[word]);
	}
	totals->cached_blocks = pg_atomic_read_u64(&table->cached_blocks);
	totals->kept_blocks = pg_atomic_read_u64(&table->kept_blocks);
	totals->free_entries = chunk_table_free_entries();
}
