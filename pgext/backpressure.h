/* backpressure.h: writers slow down when the pageserver lags behind */
#ifndef VARVE_BACKPRESSURE_H
#define VARVE_BACKPRESSURE_H

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"

extern void backpressure_request_shmem(void);
extern void backpressure_start_shmem(void);

/* registers the callback before commit; in the postmaster, after the commit guard's */
extern void backpressure_install(void);

/* in the evictor: sets the pace for everybody */
extern void backpressure_regulate(XLogRecPtr ingested, TimestampTz now);

/* of the storage manager: a file is being closed; sleeps if this is a barrier that was sent to slow us down */
extern void backpressure_pause(void);

/* bytes between the end of WAL and what the pageserver has ingested, as of the last look */
extern uint64 backpressure_lag(void);

#endif
