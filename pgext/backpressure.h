/* backpressure.h: writers slow down when the pageserver lags behind */
#ifndef VARVE_BACKPRESSURE_H
#define VARVE_BACKPRESSURE_H

#include "datatype/timestamp.h"

/* registers the callback before commit; in the postmaster, after the commit guard's */
extern void backpressure_install(void);

/* in the evictor: makes who writes pause; true: the pageserver lags so far that it is worth looking often */
extern bool backpressure_regulate(TimestampTz now);

/* of the storage manager: a file is being closed; sleeps if this is a barrier that was sent to slow us down */
extern void backpressure_pause(void);

/* bytes between the end of WAL and what the pageserver is known to have ingested */
extern uint64 backpressure_lag(void);

#endif
