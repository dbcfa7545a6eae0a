/* replica.h: servers that replay WAL, or stand still at an LSN, instead of writing */
#ifndef VARVE_REPLICA_H
#define VARVE_REPLICA_H

#include "access/xlogdefs.h"

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

#endif
