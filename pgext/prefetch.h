/* prefetch.h: blocks that are asked for before somebody waits for them */
#ifndef VARVE_PREFETCH_H
#define VARVE_PREFETCH_H

#include "storage/smgr.h"

#include "chunk_table.h"

/* registers the end of a transaction as the end of all that is held; in the postmaster */
extern void prefetch_install(void);

/* asks for one missing block; false: not now, or not possible */
extern bool prefetch_block(SMgrRelation relation, ForkNumber fork, BlockNumber block);

/* goes on with a sequential scan: asks for its next run */
extern void prefetch_next_run(RelationTag relation, ForkNumber fork, BlockNumber end_of_file);

/* the block, if it was asked for before and the answer still counts; waits for it if need be */
extern bool prefetch_take(RelationTag relation, ForkNumber fork, BlockNumber block, char *page);

#endif
