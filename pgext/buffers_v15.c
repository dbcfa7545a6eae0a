/*
 * buffers_v15.c: shared buffers of PostgreSQL 15, looked at from beside the buffer manager.
 */
#include "postgres.h"

#if PG_VERSION_NUM / 10000 != 15
#error "buffers_v15.c is for PostgreSQL 15"
#endif

#include "access/xlog.h"
#include "access/xloginsert.h"
#include "storage/buf_internals.h"
#include "storage/bufmgr.h"

#include "buffers.h"
#include "insert_lsn.h"
#include "server.h"

bool
buffer_is_dirty(int buffer_id, ForkNumber fork, BlockTag *found)
{
	BufferDesc *descriptor = GetBufferDescriptor(buffer_id);
	uint32		state;
	BufferTag	tag;

	/* without the lock of the header: most buffers are of no interest */
	if (descriptor->tag.forkNum != fork)
		return false;
	state = LockBufHdr(descriptor);
	tag = descriptor->tag;
	UnlockBufHdr(descriptor, state);
	if (tag.forkNum != fork || (state & (BM_VALID | BM_DIRTY | BM_PERMANENT)) !=
		(BM_VALID | BM_DIRTY | BM_PERMANENT))
		return false;
	found->relation = tag_of_stock(tag.rnode);
	found->fork = tag.forkNum;
	found->block = tag.blockNum;
	return true;
}

bool
buffer_pin(const BlockTag *tag, int buffer_id, Buffer *buffer)
{
	*buffer = buffer_id + 1;
	return ReadRecentBuffer(stock_of_tag(tag->relation), tag->fork, tag->block, *buffer);
}

bool
buffer_needs_write(Buffer buffer)
{
	return (pg_atomic_read_u32(&GetBufferDescriptor(buffer - 1)->state) & BM_DIRTY) != 0;
}

bool
page_is_of_permanent_relation(const char *page)
{
	size_t		offset = page - BufferBlocks;

	if (page >= BufferBlocks && offset < (size_t) NBuffers * BLCKSZ)
		return (pg_atomic_read_u32(&GetBufferDescriptor(offset / BLCKSZ)->state) & BM_PERMANENT) != 0;

	/* it is logged right before it is written past the buffers, if it is logged at all (nbtsort.c) */
	return lsn_is_recent(PageGetLSN((Page) page));
}

int
buffer_lookup(const BlockTag *tag, LWLock **mapping_lock)
{
	BufferTag	buffer_tag;
	uint32		hash;

	INIT_BUFFERTAG(buffer_tag, stock_of_tag(tag->relation), tag->fork, tag->block);
	hash = BufTableHashCode(&buffer_tag);
	*mapping_lock = BufMappingPartitionLock(hash);
	LWLockAcquire(*mapping_lock, LW_SHARED);
	return BufTableLookup(&buffer_tag, hash);
}

XLogRecPtr
log_page_image(const BlockTag *tag, char *page, bool standard_page)
{
	StockRelation relation = stock_of_tag(tag->relation);

	return log_newpage(&relation, tag->fork, tag->block, page, standard_page);
}
