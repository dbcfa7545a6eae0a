/*
 * grace.h: since when nobody who runs can miss what WAL does not say.
 *
 *   period   L0, the insert LSN when it begins; the transactions that run then;
 *            P, the insert LSN when the last of them has ended
 *   covered  a write with W < L0 of a period that has ended: all that it did, and all that
 *            was not in WAL and mattered to who did it, is in WAL before P or matters no more
 *
 * Private to one process, the evictor.
 */
#ifndef VARVE_GRACE_H
#define VARVE_GRACE_H

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"

extern void grace_init(void);

/* ends the periods whose transactions have ended, begins one if it is time */
extern void grace_tick(TimestampTz now);

/*
 * Writes with W below this are covered by a period whose P the pageserver has
 * ingested; invalid: none is.
 */
extern XLogRecPtr grace_covered_before(XLogRecPtr ingested);

/* P of the first period that covers a write; W must be below grace_covered_before */
extern XLogRecPtr grace_end_of(XLogRecPtr last_write);

/* periods that have not ended */
extern int	grace_pending(void);

#endif
