/* ingest_position.h: how far the pageserver has ingested this compute's WAL */
#ifndef VARVE_INGEST_POSITION_H
#define VARVE_INGEST_POSITION_H

#include "access/xlogdefs.h"

extern void ingest_position_request_shmem(void);
extern void ingest_position_start_shmem(void);

/* in the evictor: asks the walproposer's walsender and publishes what it says; never moves back */
extern XLogRecPtr ingest_position_look(void);

/* what was published last; invalid: nothing yet */
extern XLogRecPtr ingest_position(void);

#endif
