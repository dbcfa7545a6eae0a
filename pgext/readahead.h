/* readahead.h: how many blocks to fetch with a missing one */
#ifndef VARVE_READAHEAD_H
#define VARVE_READAHEAD_H

#include "chunk_table.h"

/* the run to fetch from `block` on, at most `limit` blocks (end of chunk, end of file) */
extern uint32 readahead_run(RelationTag relation, ForkNumber fork, BlockNumber block, uint32 limit);

#endif
