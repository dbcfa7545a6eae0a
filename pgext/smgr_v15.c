/*
 * smgr_v15.c: the storage manager's table of PostgreSQL 15 and our functions for it.
 *
 * Everything whose shape depends on the major version is here: the order of
 * the table, the signatures, the names in SMgrRelation.
 */
#include "postgres.h"

#if PG_VERSION_NUM / 10000 != 15
#error "smgr_v15.c is for PostgreSQL 15"
#endif

#include "storage/md.h"

#include "backpressure.h"
#include "buffers.h"
#include "init_forks.h"
#include "local_relations.h"
#include "page_images.h"
#include "prefetch.h"
#include "server.h"
#include "smgr_md.h"
#include "smgr_table.h"
#include "sparse_cache.h"

/* positions in f_smgr of 15 */
enum
{
	SLOT_CLOSE = 3,
	SLOT_CREATE = 4,
	SLOT_EXISTS = 5,
	SLOT_UNLINK = 6,
	SLOT_EXTEND = 7,
	SLOT_PREFETCH = 8,
	SLOT_READ = 9,
	SLOT_WRITE = 10,
	SLOT_TRUNCATE = 13,
};

RelationTag
relation_tag(SMgrRelation relation)
{
	return tag_of_stock(relation->smgr_rnode.node);
}

char *
fork_path(RelationTag relation, ForkNumber fork)
{
	return GetRelationPath(relation.db, relation.spc, relation.rel, InvalidBackendId, fork);
}

BlockNumber
md_block_count(SMgrRelation relation, ForkNumber fork)
{
	return mdnblocks(relation, fork);
}

void
md_read_blocks(SMgrRelation relation, ForkNumber fork, BlockNumber block, char **pages, uint32 count)
{
	for (uint32 i = 0; i < count; i++)
		mdread(relation, fork, block + i, pages[i]);
}

static void
varve_close(SMgrRelation reln, ForkNumber forknum)
{
	if (smgr_probe_reached(SLOT_CLOSE))
		return;
	if (forknum == MAIN_FORKNUM)
		local_relations_forget(reln);
	mdclose(reln, forknum);
	backpressure_pause();
}

/* only unlogged relations have one; from here on, as far as the evictor can see, this is one */
static void
create_init_fork(SMgrRelation reln, bool isRedo)
{
	local_relations_lock(LW_EXCLUSIVE);
	mdcreate(reln, INIT_FORKNUM, isRedo);
	sparse_cache_note_init_fork(relation_tag(reln));
	local_relations_unlock();
	local_relations_note_init_fork();
	if (!isRedo)
		init_forks_note(reln);
}

/* mdcreate fails if the file is there: what is known of a living relation must survive that */
static void
create_fork(SMgrRelation reln, ForkNumber forknum)
{
	sparse_cache_begin_create(relation_tag(reln), forknum);
	mdcreate(reln, forknum, false);
	sparse_cache_end_create(relation_tag(reln), forknum);
}

static void
varve_create(SMgrRelation reln, ForkNumber forknum, bool isRedo)
{
	if (smgr_probe_reached(SLOT_CREATE))
		return;
	if (SmgrIsTemp(reln))
	{
		mdcreate(reln, forknum, isRedo);
		return;
	}
	if (forknum == INIT_FORKNUM)
		create_init_fork(reln, isRedo);
	else if (isRedo)
		mdcreate(reln, forknum, isRedo);
	else
		create_fork(reln, forknum);
	local_relations_forget(reln);
}

/* the same as stock; it is here because the self-test of unlink comes by before files can be opened */
static bool
varve_exists(SMgrRelation reln, ForkNumber forknum)
{
	if (smgr_probe_reached(SLOT_EXISTS))
		return false;
	return mdexists(reln, forknum);
}

static void
varve_unlink(RelFileNodeBackend rnode, ForkNumber forknum, bool isRedo)
{
	if (smgr_probe_reached(SLOT_UNLINK))
		return;
	if (rnode.backend == InvalidBackendId)
		sparse_cache_note_unlink(tag_of_stock(rnode.node), forknum);
	mdunlink(rnode, forknum, isRedo);
}

static void
varve_extend(SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum, char *buffer,
			 bool skipFsync)
{
	WriteInProgress write;

	if (smgr_probe_reached(SLOT_EXTEND))
		return;
	if (is_local_fork(reln, forknum))
	{
		mdextend(reln, forknum, blocknum, buffer, skipFsync);
		return;
	}
	sparse_cache_begin_write(reln, forknum, blocknum, buffer, &write);
	mdextend(reln, forknum, blocknum, buffer, skipFsync);
	sparse_cache_end_write(&write);
	if (forknum == MAIN_FORKNUM && page_images_are_wanted() && page_is_of_permanent_relation(buffer))
		page_images_relieve(relation_tag(reln), blocknum);
}

static bool
varve_prefetch(SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum)
{
	if (smgr_probe_reached(SLOT_PREFETCH))
		return false;
	if (is_local_fork(reln, forknum) ||
		sparse_cache_is_valid(relation_tag(reln), forknum, blocknum))
		return mdprefetch(reln, forknum, blocknum);

	return prefetch_block(reln, forknum, blocknum);
}

static void
varve_read(SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum, char *buffer)
{
	if (smgr_probe_reached(SLOT_READ))
		return;
	if (is_local_fork(reln, forknum))
		mdread(reln, forknum, blocknum, buffer);
	else
		sparse_cache_read(reln, forknum, blocknum, &buffer, 1);
}

static void
varve_write(SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum, char *buffer,
			bool skipFsync)
{
	WriteInProgress write;

	if (smgr_probe_reached(SLOT_WRITE))
		return;
	if (is_local_fork(reln, forknum))
	{
		mdwrite(reln, forknum, blocknum, buffer, skipFsync);
		return;
	}
	sparse_cache_begin_write(reln, forknum, blocknum, buffer, &write);
	mdwrite(reln, forknum, blocknum, buffer, skipFsync);
	sparse_cache_end_write(&write);
}

/* in a critical section; an unlogged relation has no entries, so it need not be told apart */
static void
varve_truncate(SMgrRelation reln, ForkNumber forknum, BlockNumber old_blocks, BlockNumber nblocks)
{
	if (smgr_probe_reached(SLOT_TRUNCATE))
		return;
	if (!SmgrIsTemp(reln))
		sparse_cache_note_truncate(relation_tag(reln), forknum, nblocks);
	mdtruncate(reln, forknum, old_blocks, nblocks);
}

#define STOCK(function) (SmgrFunction) (function)
#define OURS(function) (SmgrFunction) (function)

const SmgrSlot smgr_slots[] = {
	{"smgr_init", STOCK(mdinit), NULL},
	{"smgr_shutdown", NULL, NULL},
	{"smgr_open", STOCK(mdopen), NULL},
	{"smgr_close", STOCK(mdclose), OURS(varve_close)},
	{"smgr_create", STOCK(mdcreate), OURS(varve_create)},
	{"smgr_exists", STOCK(mdexists), OURS(varve_exists)},
	{"smgr_unlink", STOCK(mdunlink), OURS(varve_unlink)},
	{"smgr_extend", STOCK(mdextend), OURS(varve_extend)},
	{"smgr_prefetch", STOCK(mdprefetch), OURS(varve_prefetch)},
	{"smgr_read", STOCK(mdread), OURS(varve_read)},
	{"smgr_write", STOCK(mdwrite), OURS(varve_write)},
	{"smgr_writeback", STOCK(mdwriteback), NULL},
	{"smgr_nblocks", STOCK(mdnblocks), NULL},
	{"smgr_truncate", STOCK(mdtruncate), OURS(varve_truncate)},
	{"smgr_immedsync", STOCK(mdimmedsync), NULL},
};
const int	smgr_slot_count = lengthof(smgr_slots);

void
smgr_probe_all(void)
{
	/* a relation that cannot exist; made here because smgropen is not usable yet */
	SMgrRelationData probe = {.smgr_rnode = {{1, 1, 1}, InvalidBackendId}};
	SMgrRelation reln = &probe;
	char		page[BLCKSZ] = {0};
	ForkNumber	fork = MAIN_FORKNUM;
	BlockNumber blocks = 0;

	smgrrelease(reln);
	smgrcreate(reln, fork, false);
	smgrextend(reln, fork, 0, page, true);
	(void) smgrprefetch(reln, fork, 0);
	smgrread(reln, fork, 0, page);
	smgrwrite(reln, fork, 0, page, true);
	smgrtruncate2(reln, &fork, 1, &blocks, &blocks);
	smgrdounlinkall(&reln, 1, false);
}
