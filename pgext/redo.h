/* redo.h: what WAL records do beyond their pages */
#ifndef VARVE_REDO_H
#define VARVE_REDO_H

#include "access/xlogreader.h"

#include "buffers.h"

/* a block of a record; false if the record has none of that number */
extern bool redo_block(XLogReaderState *record, int block_id, BlockTag *tag);

/* the length of the fork, which is made if it is not there, as stock redo does */
extern BlockNumber redo_block_count(const BlockTag *tag);

/* of a record of rmgrs heap, heap2 and btree: whether queries that need what it removes must end first */
extern bool redo_conflicts(XLogReaderState *record);

/* of redo_vNN.c: ends those queries */
extern void redo_resolve_conflicts(XLogReaderState *record);

/* whether its only effect on a replica is on its blocks, and on bits of the visibility map that they tell of */
extern bool redo_is_of_pages_alone(XLogReaderState *record);

/* numbers of its blocks (of heaps) whose bits in the visibility map it clears, as a set of bits */
extern uint32 redo_clears_visibility(XLogReaderState *record);

/* of redo_vNN.c, for operations of rmgr heap2 that it alone has: as redo_conflicts, as redo_is_of_pages_alone */
extern bool heap2_conflicts(uint8 operation);
extern bool heap2_is_of_pages_alone(uint8 operation);

#endif
