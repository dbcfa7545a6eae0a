/*
 * server.h: small things that every major version of the server calls by
 * another name; the large ones have files of their own (smgr_vNN.c, buffers_vNN.c).
 */
#ifndef VARVE_SERVER_H
#define VARVE_SERVER_H

#include "replication/slot.h"
#include "storage/proc.h"
#include "utils/guc_tables.h"

#include "chunk_table.h"

/* what the server calls a relation by */
#if PG_VERSION_NUM >= 160000
typedef RelFileLocator StockRelation;
#else
typedef RelFileNode StockRelation;
#endif

/* of no backend: not temporary */
#if PG_VERSION_NUM >= 170000
#define OF_NO_BACKEND INVALID_PROC_NUMBER
#else
#define OF_NO_BACKEND InvalidBackendId
#endif

static inline RelationTag
tag_of_stock(StockRelation relation)
{
#if PG_VERSION_NUM >= 160000
	RelationTag tag = {relation.spcOid, relation.dbOid, relation.relNumber};
#else
	RelationTag tag = {relation.spcNode, relation.dbNode, relation.relNode};
#endif

	return tag;
}

static inline StockRelation
stock_of_tag(RelationTag tag)
{
	StockRelation relation = {tag.spc, tag.db, tag.rel};

	return relation;
}

/* the local transaction id of a process, invalid between transactions */
static inline LocalTransactionId
local_xid_of(volatile PGPROC *process)
{
#if PG_VERSION_NUM >= 170000
	return process->vxid.lxid;
#else
	return process->lxid;
#endif
}

/* index into ProcGlobal->allProcs */
static inline uint32
my_process_number(void)
{
#if PG_VERSION_NUM >= 170000
	return MyProcNumber;
#else
	return MyProc->pgprocno;
#endif
}

static inline struct config_generic **
all_settings(int *count)
{
#if PG_VERSION_NUM >= 160000
	return get_guc_variables(count);
#else
	*count = GetNumConfigOptions();
	return get_guc_variables();
#endif
}

/* values of settings live in memory of their own; NULL if there is none */
static inline char *
setting_copy(const char *value)
{
#if PG_VERSION_NUM >= 160000
	return guc_strdup(LOG, value);
#else
	return strdup(value);
#endif
}

static inline void *
setting_alloc(size_t size)
{
#if PG_VERSION_NUM >= 160000
	return guc_malloc(LOG, size);
#else
	return malloc(size);
#endif
}

static inline void
setting_free(char *value)
{
#if PG_VERSION_NUM >= 160000
	guc_free(value);
#else
	free(value);
#endif
}

/* saves all slots that are marked dirty */
static inline void
checkpoint_slots(void)
{
#if PG_VERSION_NUM >= 170000
	CheckPointReplicationSlots(false);
#else
	CheckPointReplicationSlots();
#endif
}

#endif
