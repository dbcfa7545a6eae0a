/* eviction.h: what may be dropped from the local files, and dropping it */
#ifndef VARVE_EVICTION_H
#define VARVE_EVICTION_H

#include "chunk_table.h"

/*
 * Drops up to about `wanted` blocks that may go; the number dropped.  Goes on
 * from where the last call stopped.  In the evictor only.
 */
extern uint64 eviction_run(uint64 wanted, XLogRecPtr ingested);

/*
 * Drops the blocks of a chunk of which the local file has nothing of its own;
 * the number dropped.  With the chunk's partition locked exclusively, and the
 * lock of local_relations.h shared.  The entry may be gone afterwards.
 */
extern uint32 eviction_drop(ChunkEntry *entry);

#endif
