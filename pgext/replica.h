/* replica.h: servers that replay WAL, or stand still at an LSN, instead of writing */
#ifndef VARVE_REPLICA_H
#define VARVE_REPLICA_H

#include "access/xlogdefs.h"
#include "access/xlogreader.h"

#include "buffers.h"

extern void replica_request_shmem(void);
extern void replica_start_shmem(void);
extern void replica_install(void);

/* the LSN at which a replica reads a page from the pageserver: what it has replayed */
extern XLogRecPtr replica_read_lsn(void);

/* in the evictor: ends the server if somebody has promoted it */
extern void replica_refuse_promotion(void);

/* counters of the startup process: records with blocks, and those of them that were passed over */
extern uint64 replica_records_replayed(void);
extern uint64 replica_records_passed_over(void);

/* of redo_vNN.c: a block of a record; false if the record has none of that number */
extern bool redo_block(XLogReaderState *record, int block_id, BlockTag *tag);

/* the length of the fork, which is made if it is not there, as stock redo does */
extern BlockNumber redo_block_count(const BlockTag *tag);

/* of a record of rmgrs heap, heap2 and btree: whether queries that need what it removes must end first */
extern bool redo_conflicts(XLogReaderState *record);
extern void redo_resolve_conflicts(XLogReaderState *record);

/* whether its only effect on a replica is on its blocks, and on bits of the visibility map that they tell of */
extern bool redo_is_of_pages_alone(XLogReaderState *record);

/* numbers of its blocks (of heaps) whose bits in the visibility map it clears, as a set of bits */
extern uint32 redo_clears_visibility(XLogReaderState *record);

#endif
