/*
 * buffers.h: shared buffers, looked at from beside the buffer manager; each
 * buffers_vNN.c implements it with the structures of its major version.
 */
#ifndef VARVE_BUFFERS_H
#define VARVE_BUFFERS_H

#include "storage/buf.h"

#include "chunk_table.h"

typedef struct BlockTag
{
	RelationTag relation;
	ForkNumber	fork;
	BlockNumber block;
} BlockTag;

/* true if the buffer holds a dirty page of a permanent relation's fork; it may be another one right after */
extern bool buffer_is_dirty(int buffer_id, ForkNumber fork, BlockTag *found);

/* pins the buffer if it (still) holds the block */
extern bool buffer_pin(const BlockTag *tag, int buffer_id, Buffer *buffer);

/* of a pinned and locked buffer: whether the file does not have its page yet */
extern bool buffer_needs_write(Buffer buffer);

/*
 * Whether the relation is permanent whose page is being read or added, by that
 * page: in a shared buffer, or in memory of its own if it is written past the
 * buffers. An unlogged index has no init fork until its build ends.
 */
extern bool page_is_of_permanent_relation(const char *page);

#if PG_VERSION_NUM >= 160000
/*
 * The same by a block's buffer, which a relation that grows has before the file
 * has the block; false if it is in none.
 */
extern bool buffered_block_is_permanent(RelationTag relation, ForkNumber fork, BlockNumber block);
#endif

/*
 * The buffer of a block, or -1; with the lock held (shared) that keeps the
 * block from coming into the buffers.
 */
extern int	buffer_lookup(const BlockTag *tag, LWLock **mapping_lock);

/* logs an image of a page, whose LSN is set; the end of the record */
extern XLogRecPtr log_page_image(const BlockTag *tag, char *page, bool standard_page);

#endif
