/* disk_space.h: limits of what the cache may take, and a disk that is nearly full */
#ifndef VARVE_DISK_SPACE_H
#define VARVE_DISK_SPACE_H

#include "chunk_table.h"

extern void disk_space_request_shmem(void);
extern void disk_space_start_shmem(void);

/* in the evictor: looks at the file system; the number of cached blocks that should go */
extern uint64 disk_space_excess_blocks(void);

/* false: pages are served without being stored, to leave room for those that must be written */
extern bool disk_space_allows_fills(void);

/* twice varve.cache_size unless varve.cache_hard_limit says otherwise; in blocks */
extern uint64 disk_space_hard_limit(void);

/* true: there is no other way out, system catalogs have to go too */
extern bool disk_space_spares_nothing(void);

/* after blocks were added: wakes the evictor if they are too many */
extern void disk_space_note_growth(void);

/*
 * Before a block is written that the file may not hold yet.  On a full disk it
 * asks the evictor, tries once more, and raises a clear error.
 */
extern void disk_space_make_room(const ChunkKey *key, BlockNumber block);

#endif
