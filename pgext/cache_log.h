/* cache_log.h: a line in the server log, now and then, of what the cache has done */
#ifndef VARVE_CACHE_LOG_H
#define VARVE_CACHE_LOG_H

#include "datatype/timestamp.h"

/* if varve.log_cache_interval has passed and something has changed */
extern void cache_log_tick(TimestampTz now);
extern void cache_log_now(void);

#endif
