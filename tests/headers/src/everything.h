/*
 * Every header of PostgreSQL that has constants which the pure crates mirror, and what the expressions in
 * names/*.txt use besides.
 */
#include "postgres.h"

#include "access/brin_page.h"
#include "access/brin_xlog.h"
#include "access/clog.h"
#include "access/commit_ts.h"
#include "access/gin_private.h"
#include "access/ginxlog.h"
#include "access/gist_private.h"
#include "access/gistxlog.h"
#include "access/hash.h"
#include "access/hash_xlog.h"
#include "access/heapam_xlog.h"
#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "access/itup.h"
#include "access/multixact.h"
#include "access/nbtree.h"
#include "access/nbtxlog.h"
#include "access/rewriteheap.h"
#include "access/rmgr.h"
#include "access/slru.h"
#include "access/spgist_private.h"
#include "access/spgxlog.h"
#include "access/transam.h"
#include "access/visibilitymapdefs.h"
#include "access/xact.h"
#include "access/xlog_internal.h"
#include "access/xlogrecord.h"
#include "catalog/catversion.h"
#include "catalog/pg_control.h"
#include "catalog/pg_tablespace_d.h"
#include "catalog/storage_xlog.h"
#include "commands/dbcommands_xlog.h"
#include "commands/sequence.h"
#include "commands/tablespace.h"
#include "common/relpath.h"
#include "port/pg_bitutils.h"
#include "replication/message.h"
#include "replication/origin.h"
#include "replication/slot.h"
#include "storage/bufpage.h"
#include "storage/checksum_impl.h"
#include "storage/fsm_internals.h"
#include "storage/itemptr.h"
#include "storage/large_object.h"
#include "storage/sinval.h"
#include "storage/standbydefs.h"
#include "utils/relmapper.h"

/* For macros that read a page's header. */
static union
{
	PageHeaderData header;
	char		data[BLCKSZ];
}			page;
static Page empty_page = (Page) &page;

static ItemPointerData invalid_pointer;

static inline void
prepare(void)
{
	page.header.pd_pagesize_version = BLCKSZ | PG_PAGE_LAYOUT_VERSION;
	ItemPointerSetInvalid(&invalid_pointer);
}
