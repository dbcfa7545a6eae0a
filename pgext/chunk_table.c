/*
 * chunk_table.c: a hash table of fixed size in shared memory.
 *
 * Nothing here allocates, waits for the network or raises an error, so every
 * function may be called in a critical section (smgr_truncate is).  All
 * entries exist from the start and move between buckets and one free list.
 * A bucket belongs to partition (bucket mod PARTITIONS); its chain is touched
 * only under that partition's lock.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "port/atomics.h"
#include "port/pg_bitutils.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "storage/spin.h"

#include "chunk_table.h"
#include "counters.h"
#include "gucs.h"

#define PARTITIONS 128
#define DATABASE_FLOORS 1024
#define TRANCHE "varve_chunks"
#define DATABASE_FLOOR_LOCK PARTITIONS

typedef struct DatabaseFloor
{
	Oid			db;
	XLogRecPtr	floor;
} DatabaseFloor;

typedef struct ChunkTable
{
	pg_atomic_uint64 generation;
	pg_atomic_uint32 clock_hand;
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
	pg_atomic_init_u32(&table->clock_hand, 0);
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
		entry = &entries[table->free_head];
		table->free_head = entry->next;
		table->free_count--;
	}
	SpinLockRelease(&table->free_lock);
	return entry;
}

ChunkEntry *
chunk_table_enter(const ChunkKey *key)
{
	uint32		bucket = bucket_of(key);
	ChunkEntry *entry = chunk_table_find(key);

	if (entry != NULL)
		return entry;
	entry = take_free_entry();
	if (entry == NULL)
		return NULL;

	memset(entry, 0, sizeof(ChunkEntry));
	entry->key = *key;
	entry->next = buckets[bucket];
	entry->bucket_plus_one = bucket + 1;
	if (key->fork != RELATION_ENTRY)
		entry->chunk.generation = chunk_table_next_generation();
	buckets[bucket] = entry - entries;
	return entry;
}

void
chunk_table_remove(ChunkEntry *entry)
{
	int32		index = entry - entries;
	int32	   *link = &buckets[entry->bucket_plus_one - 1];

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

/*
 * An entry may go if forgetting it loses nothing: this life never wrote the
 * chunk and no floor hides in it.  What it had cached is fetched again.
 */
static bool
is_recyclable(const ChunkEntry *entry)
{
	return entry->key.fork != RELATION_ENTRY &&
		XLogRecPtrIsInvalid(entry->chunk.last_write) &&
		XLogRecPtrIsInvalid(entry->chunk.not_modified_since);
}

/* locks the partition of an entry that was found without a lock; false: it has moved meanwhile */
static bool
lock_entry(ChunkEntry *entry, LWLock **lock)
{
	uint32		hint = *(volatile uint32 *) &entry->bucket_plus_one;

	if (hint == 0)
		return false;
	*lock = partition_lock(hint - 1);
	LWLockAcquire(*lock, LW_EXCLUSIVE);
	if (entry->bucket_plus_one == hint)
		return true;
	LWLockRelease(*lock);
	return false;
}

bool
chunk_table_recycle_one(void)
{
	for (int32 tries = 0; tries < varve_cache_entries; tries++)
	{
		uint32		hand = pg_atomic_fetch_add_u32(&table->clock_hand, 1) % varve_cache_entries;
		ChunkEntry *entry = &entries[hand];
		LWLock	   *lock;
		bool		recyclable;

		if (!lock_entry(entry, &lock))
			continue;
		recyclable = is_recyclable(entry);
		if (recyclable)
			chunk_table_remove(entry);
		LWLockRelease(lock);
		if (recyclable)
		{
			count(&varve_counters->recycled_entries, 1);
			return true;
		}
	}
	return false;
}

void
chunk_table_purge_database(Oid db, Oid spc)
{
	for (int32 i = 0; i < varve_cache_entries; i++)
	{
		RelationTag *relation = &entries[i].key.relation;
		LWLock	   *lock;

		if (!lock_entry(&entries[i], &lock))
			continue;
		if (relation->db == db && (!OidIsValid(spc) || relation->spc == spc))
			chunk_table_remove(&entries[i]);
		LWLockRelease(lock);
	}
}

static DatabaseFloor *
find_database_floor(Oid db)
{
	for (int i = 0; i < table->database_floors; i++)
		if (table->database_floor[i].db == db)
			return &table->database_floor[i];
	return NULL;
}

XLogRecPtr
chunk_table_database_floor(Oid db)
{
	LWLock	   *lock = &locks[DATABASE_FLOOR_LOCK].lock;
	DatabaseFloor *known;
	XLogRecPtr	floor;

	if (!OidIsValid(db))
		return InvalidXLogRecPtr;
	LWLockAcquire(lock, LW_SHARED);
	known = find_database_floor(db);
	floor = known != NULL ? known->floor : table->other_databases_floor;
	LWLockRelease(lock);
	return floor;
}

void
chunk_table_raise_database_floor(Oid db, XLogRecPtr lsn)
{
	LWLock	   *lock = &locks[DATABASE_FLOOR_LOCK].lock;
	DatabaseFloor *known;

	if (!OidIsValid(db))
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

void
chunk_table_totals(ChunkTotals *totals)
{
	memset(totals, 0, sizeof(ChunkTotals));
	for (int32 i = 0; i < varve_cache_entries; i++)
	{
		/* without locks: a picture for people, not for decisions */
		if (entries[i].bucket_plus_one == 0)
			continue;
		if (entries[i].key.fork == RELATION_ENTRY)
			totals->relations++;
		else
		{
			totals->chunks++;
			for (int word = 0; word < CHUNK_WORDS; word++)
				totals->valid_blocks += pg_popcount64(entries[i].chunk.valid[word]);
		}
	}
	totals->free_entries = table->free_count;
}
