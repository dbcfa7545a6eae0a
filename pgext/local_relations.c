/*
 * local_relations.c: tells unlogged relations from permanent ones.
 *
 * The storage manager is not told the persistence of a relation, but an
 * unlogged one has an init fork.  After a compute start no block of it is
 * valid and the pageserver has none: it must be read from the file that
 * compute_ctl copied from the init fork (sparse-cache.md A5).  The look at the
 * file system is remembered while the process has the relation open.
 */
#include "postgres.h"

#include <unistd.h>

#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "local_relations.h"
#include "smgr_md.h"

typedef struct KnownRelation
{
	RelationTag tag;
	bool		has_init_fork;
} KnownRelation;

static HTAB *known_relations = NULL;

static bool
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
	bool		found;

	if (SmgrIsTemp(relation) || fork == INIT_FORKNUM)
		return true;
	if (known_relations == NULL)
		make_table();

	tag = relation_tag(relation);
	known = hash_search(known_relations, &tag, HASH_FIND, NULL);
	if (known == NULL)
	{
		bool		has_init_fork = init_fork_exists(tag);

		known = hash_search(known_relations, &tag, HASH_ENTER, &found);
		known->has_init_fork = has_init_fork;
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
