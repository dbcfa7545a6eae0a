/* eviction.h: what may be dropped from the local files, and dropping it */
#ifndef VARVE_EVICTION_H
#define VARVE_EVICTION_H

#include "chunk_table.h"

/*
 * Drops up to about `wanted` blocks that may go; the number dropped.  Goes on
 * from where the last call stopped.  In the evictor only.
 */
extern uint64 eviction_run(uint64 wanted, XLogRecPtr ingested);

/* when the table of chunks is getting full: makes entries fit to give way. In the evictor only. */
extern void eviction_make_recyclable(XLogRecPtr ingested);

/*
 * Drops the blocks of a chunk of which the local file has nothing of its own;
 * the number dropped.  With the chunk's partition locked exclusively, and the
 * lock of local_relations.h shared; not in a critical section.
 */
extern uint32 eviction_drop(ChunkEntry *entry);

#endif
