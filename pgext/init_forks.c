/*
 * init_forks.c: what an init fork holds is in WAL before its transaction commits.
 *
 * At each start of a compute an unlogged relation is what its init fork is, and
 * the pageserver has of that what was logged.  Access methods log the pages
 * themselves, but from PostgreSQL 16 on an extension's that writes them through
 * generic WAL, as contrib/bloom does, logs nothing: generic WAL leaves unlogged
 * relations out, and their init forks with them.  So pages that no record has
 * touched are logged here, whole.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xloginsert.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/smgr.h"
#include "utils/memutils.h"

#include "init_forks.h"
#include "server.h"
#include "smgr_md.h"

/* of this transaction */
static List *made = NIL;

void
init_forks_note(SMgrRelation relation)
{
	RelationTag *tag;
	MemoryContext previous;

	if (!IsTransactionState())
		return;
	previous = MemoryContextSwitchTo(TopTransactionContext);
	tag = palloc(sizeof(RelationTag));
	*tag = relation_tag(relation);
	made = lappend(made, tag);
	MemoryContextSwitchTo(previous);
}

static void
log_page(StockRelation relation, BlockNumber block)
{
	Buffer		buffer = ReadBufferWithoutRelcache(relation, INIT_FORKNUM, block, RBM_NORMAL, NULL, true);
	Page		page = BufferGetPage(buffer);

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	if (!PageIsNew(page) && XLogRecPtrIsInvalid(PageGetLSN(page)))
	{
		START_CRIT_SECTION();
		MarkBufferDirty(buffer);
		/* its pd_lower may say nothing */
		log_newpage_buffer(buffer, false);
		END_CRIT_SECTION();
	}
	UnlockReleaseBuffer(buffer);
}

static void
log_pages(RelationTag tag)
{
	StockRelation relation = stock_of_tag(tag);
	SMgrRelation open = smgropen(relation, OF_NO_BACKEND);

	/* a subtransaction that made it may have been rolled back */
	if (!smgrexists(open, INIT_FORKNUM))
		return;
	for (BlockNumber block = 0, end = smgrnblocks(open, INIT_FORKNUM); block < end; block++)
		log_page(relation, block);
}

static void
on_transaction_event(XactEvent event, void *arg)
{
	ListCell   *cell;

	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			foreach(cell, made)
				log_pages(*(RelationTag *) lfirst(cell));
			break;
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			/* its memory was the transaction's */
			made = NIL;
			break;
	}
}

void
init_forks_install(void)
{
	RegisterXactCallback(on_transaction_event, NULL);
}
