/* walproposer_reply.h: what the walproposer has told in its standby replies */
#ifndef VARVE_WALPROPOSER_REPLY_H
#define VARVE_WALPROPOSER_REPLY_H

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"

extern void walproposer_reply_request_shmem(void);
extern void walproposer_reply_start_shmem(void);

/* asks the walproposer's walsender and publishes what it says; the evictor does so all the time */
extern void walproposer_reply_look(void);

/* what was published last: how far the pageserver has ingested this compute's WAL; never moves back, invalid: nothing yet */
extern XLogRecPtr ingest_position(void);

/*
 * by what was published last: whether a quorum of safekeepers has followed this compute at some time after `time`.
 * What is in the future of `now`, after the clock was set back, says nothing.
 */
extern bool quorum_followed_since(TimestampTz time, TimestampTz now);

/* whether a quorum of safekeepers has WAL up to there; asks the walsender if what was published does not say so */
extern bool quorum_has(XLogRecPtr lsn);

#endif
