/* readahead.h: how many blocks to fetch with a missing one */
#ifndef VARVE_READAHEAD_H
#define VARVE_READAHEAD_H

#include "chunk_table.h"

/*
 * The run to fetch from `block` on: at least the `wanted` blocks, at most
 * `limit` (end of chunk, end of file).
 */
extern uint32 readahead_run(RelationTag relation, ForkNumber fork, BlockNumber block, uint32 wanted,
							uint32 limit);

/* how many blocks a scan that goes on will want next, and from where on; 0: no scan goes on */
extern uint32 readahead_next(RelationTag relation, ForkNumber fork, BlockNumber *next);

/* a run of the scan has come that was asked for ahead */
extern void readahead_note(RelationTag relation, ForkNumber fork, BlockNumber first, uint32 blocks);

#endif
