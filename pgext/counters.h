/* counters.h: what the views show; monotonic, in shared memory */
#ifndef VARVE_COUNTERS_H
#define VARVE_COUNTERS_H

#include "port/atomics.h"

typedef struct Counters
{
	/* sparse cache */
	pg_atomic_uint64 misses;
	pg_atomic_uint64 filled_blocks;
	pg_atomic_uint64 guard_refusals;
	pg_atomic_uint64 fill_failures;
	pg_atomic_uint64 recycled_entries;
	pg_atomic_uint64 zero_pages_suspect;

	/* page client */
	pg_atomic_uint64 requests;
	pg_atomic_uint64 blocks_fetched;
	pg_atomic_uint64 wait_microseconds;
	pg_atomic_uint64 connects;
	pg_atomic_uint64 reconnects;
	pg_atomic_uint64 errors;
} Counters;

/* NULL until shared memory exists, and for ever while pages are local */
extern Counters *varve_counters;

extern void counters_request_shmem(void);
extern void counters_start_shmem(void);

static inline void
count(pg_atomic_uint64 *counter, uint64 amount)
{
	pg_atomic_fetch_add_u64(counter, amount);
}

#endif
