/* hole_punch.h: gives the disk space of blocks back to the file system */
#ifndef VARVE_HOLE_PUNCH_H
#define VARVE_HOLE_PUNCH_H

#include "chunk_table.h"

/* FATAL unless the file system of the data directory and of each tablespace can do it; in the postmaster */
extern void hole_punch_probe(void);

/* the file that holds the block, opened by path and never made: -1 and errno if it is gone */
extern int	open_segment(const ChunkKey *key, BlockNumber block);

/* false and errno: nothing was given back, the blocks hold what they held */
extern bool punch_blocks(int segment, BlockNumber first, uint32 blocks);

/* makes sure that a write of the block finds room on the disk; false and errno if there is none */
extern bool allocate_block(int segment, BlockNumber block);

#endif
