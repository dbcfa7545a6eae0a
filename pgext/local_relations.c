/*
 * local_relations.c: tells unlogged relations from permanent ones.
 *
 * The storage manager is not told the persistence of a relation, but an
 * unlogged one has an init fork.  After a compute start no block of it is
 * valid and the pageserver has none: it must be read from the file that
 * compute_ctl copied from the init fork (docs/sparse-cache.md A5).  The look at the
 * file system is remembered while the process has the relation open.
 *
 * An index gets its init fork at the end of its build.  Another process may
 * have written out pages of it before then and have it open still, so "no init
 * fork" is remembered only until the next init fork is made anywhere.
 *
 * Writes to a local relation pass the chunk table by. So the evictor may punch
 * a hole only while no init fork can come into being: both are under one lock,
 * and when an init fork is there, what the table knew of the relation goes.
 */
#include "postgres.h"

#include <unistd.h>

#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "local_relations.h"
#include "smgr_md.h"

typedef struct KnownRelation
{
	RelationTag tag;
	bool		has_init_fork;
	uint64		looked_at;		/* init forks made before the look */
} KnownRelation;

#define TRANCHE "varve_init_forks"

static HTAB *known_relations = NULL;
static pg_atomic_uint64 *init_forks_made = NULL;
static LWLock *init_fork_lock = NULL;

void
local_relations_request_shmem(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(pg_atomic_uint64)));
	RequestNamedLWLockTranche(TRANCHE, 1);
}

void
local_relations_start_shmem(void)
{
	bool		found;

	init_forks_made = ShmemInitStruct("varve init forks made", sizeof(pg_atomic_uint64), &found);
	if (!found)
		pg_atomic_init_u64(init_forks_made, 0);
	init_fork_lock = &GetNamedLWLockTranche(TRANCHE)->lock;
}

void
local_relations_lock(LWLockMode mode)
{
	LWLockAcquire(init_fork_lock, mode);
}

void
local_relations_unlock(void)
{
	LWLockRelease(init_fork_lock);
}

void
local_relations_note_init_fork(void)
{
	pg_atomic_fetch_add_u64(init_forks_made, 1);
}

bool
init_fork_exists(RelationTag tag)
{
	char	   *path = fork_path(tag, INIT_FORKNUM);
	bool		exists = access(path, F_OK) == 0;

	pfree(path);
	return exists;
}

static void
make_table(void)
{
	HASHCTL		control = {.keysize = sizeof(RelationTag), .entrysize = sizeof(KnownRelation)};

	known_relations = hash_create("varve local relations", 256, &control, HASH_ELEM | HASH_BLOBS);
}

bool
is_local_fork(SMgrRelation relation, ForkNumber fork)
{
	RelationTag tag;
	KnownRelation *known;
	uint64		now;
	bool		found;

	if (SmgrIsTemp(relation) || fork == INIT_FORKNUM)
		return true;
	if (known_relations == NULL)
		make_table();

	tag = relation_tag(relation);
	now = pg_atomic_read_u64(init_forks_made);
	known = hash_search(known_relations, &tag, HASH_FIND, NULL);
	if (known == NULL || (!known->has_init_fork && known->looked_at != now))
	{
		bool		has_init_fork = init_fork_exists(tag);

		known = hash_search(known_relations, &tag, HASH_ENTER, &found);
		known->has_init_fork = has_init_fork;
		known->looked_at = now;
	}
	return known->has_init_fork;
}

void
local_relations_forget(SMgrRelation relation)
{
	RelationTag tag = relation_tag(relation);

	if (known_relations != NULL)
		hash_search(known_relations, &tag, HASH_REMOVE, NULL);
}
