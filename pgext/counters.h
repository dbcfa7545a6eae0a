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
	pg_atomic_uint64 fills_not_stored;
	pg_atomic_uint64 recycled_entries;
	pg_atomic_uint64 evicted_chunks;
	pg_atomic_uint64 evicted_blocks;
	pg_atomic_uint64 refetched_blocks;
	pg_atomic_uint64 punch_failures;
	pg_atomic_uint64 disk_full_waits;
	pg_atomic_uint64 page_images;
	pg_atomic_uint64 fsm_images;
	pg_atomic_uint64 suspect_zero_pages;

	/* pages compared with a full copy; tests only */
	pg_atomic_uint64 shadow_compared;
	pg_atomic_uint64 shadow_refetched;
	pg_atomic_uint64 shadow_refetched_equal;
	pg_atomic_uint64 shadow_mismatches;
	pg_atomic_uint64 shadow_all_visible_lost;
	pg_atomic_uint64 shadow_live_cids_lost;
	pg_atomic_uint64 shadow_live_tokens_lost;
	pg_atomic_uint64 shadow_live_cycle_ids_lost;

	/* back-pressure */
	pg_atomic_uint64 throttled;
	pg_atomic_uint64 throttled_microseconds;

	/* page client */
	pg_atomic_uint64 requests;
	pg_atomic_uint64 prefetches;
	pg_atomic_uint64 prefetch_hits;
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
