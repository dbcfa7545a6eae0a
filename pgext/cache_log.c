/*
 * cache_log.c: a line in the server log, now and then, of what the cache has done.
 *
 * For who looks at a compute afterwards: shared memory is gone by then. The
 * values are those of the view varve.cache.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "cache_log.h"
#include "chunk_table.h"
#include "counters.h"
#include "gucs.h"

static uint64
value_of(pg_atomic_uint64 *counter)
{
	return pg_atomic_read_u64(counter);
}

void
cache_log_now(void)
{
	Counters   *c = varve_counters;
	ChunkTotals totals;

	chunk_table_totals(&totals);
	ereport(LOG,
			(errmsg("varve cache: evicted_chunks=" UINT64_FORMAT " evicted_blocks=" UINT64_FORMAT
					" refetched_blocks=" UINT64_FORMAT " suspect_zero_pages=" UINT64_FORMAT
					" shadow_mismatches=" UINT64_FORMAT " valid_blocks=" UINT64_FORMAT
					" kept_blocks=" UINT64_FORMAT " misses=" UINT64_FORMAT
					" prefetch_hits=" UINT64_FORMAT " page_images=" UINT64_FORMAT
					" fsm_images=" UINT64_FORMAT " throttled=" UINT64_FORMAT,
					value_of(&c->evicted_chunks), value_of(&c->evicted_blocks),
					value_of(&c->refetched_blocks), value_of(&c->suspect_zero_pages),
					value_of(&c->shadow_mismatches), totals.cached_blocks,
					totals.kept_blocks, value_of(&c->misses),
					value_of(&c->prefetch_hits), value_of(&c->page_images),
					value_of(&c->fsm_images), value_of(&c->throttled)),
			 errhidestmt(true)));
}

void
cache_log_tick(TimestampTz now)
{
	static TimestampTz last = 0;
	static uint64 last_misses = 0;
	static uint64 last_evicted = 0;

	if (varve_log_cache_interval == 0 ||
		!TimestampDifferenceExceeds(last, now, varve_log_cache_interval * 1000))
		return;
	last = now;
	if (last_misses == value_of(&varve_counters->misses) &&
		last_evicted == value_of(&varve_counters->evicted_blocks))
		return;
	last_misses = value_of(&varve_counters->misses);
	last_evicted = value_of(&varve_counters->evicted_blocks);
	cache_log_now();
}
