/*
 * fill.h: blocks from the pageserver on their way into a local file.
 *
 *   fill    consecutive missing blocks of one chunk, asked for together
 *   guard   a fill is stored only if nothing in its chunk has changed since it was begun
 */
#ifndef VARVE_FILL_H
#define VARVE_FILL_H

#include "storage/smgr.h"

#include "chunk_table.h"
#include "page_messages.h"

typedef struct Fill
{
	ChunkKey	key;
	BlockNumber first;
	uint32		blocks;
	XLogRecPtr	not_modified_since;
	uint64		generation;		/* 0: the table had no room, the pages are not stored */
} Fill;

/* what to ask for at a missing block: the run of missing blocks from it on, at most `limit` of them */
extern Fill fill_begin(RelationTag relation, ForkNumber fork, BlockNumber first, uint32 limit);

extern PageRequest fill_request(const Fill *fill);

/* the pageserver would wait for WAL that is still in our buffers */
extern bool fill_needs_flush(const Fill *fill);

/*
 * Stores what is still missing; false: the guard refused, something in the
 * chunk has changed. `asked` is the block that is being read into a buffer.
 */
extern bool fill_end(const Fill *fill, BlockNumber asked, const char *pages);

/* the most blocks from `block` on that one fill may have: to the end of the chunk or of the file */
extern uint32 fill_limit(BlockNumber block, BlockNumber end_of_file);

#endif
