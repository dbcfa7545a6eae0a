/*
 * counters_text.c: the counters as one text, behind the setting varve.counters.
 *
 * For compute_ctl, which asks servers in which nobody has created the extension, and replicas, which cannot have it created.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "chunk_table.h"
#include "counters.h"
#include "counters_text.h"
#include "gucs.h"

static void
add(StringInfo text, const char *name, uint64 value)
{
	appendStringInfo(text, "%s%s=" UINT64_FORMAT, text->len > 0 ? " " : "", name, value);
}

static void
add_counter(StringInfo text, const char *name, pg_atomic_uint64 *counter)
{
	add(text, name, pg_atomic_read_u64(counter));
}

const char *
counters_text(void)
{
	StringInfoData text;

	if (varve_counters == NULL)
		return "";
	initStringInfo(&text);
	add(&text, "cached_bytes", chunk_table_cached_blocks() * BLCKSZ);
	add(&text, "cache_size_bytes", (uint64) varve_cache_size * BLCKSZ);
	add_counter(&text, "misses", &varve_counters->misses);
	add_counter(&text, "evicted_blocks", &varve_counters->evicted_blocks);
	add_counter(&text, "refetched_blocks", &varve_counters->refetched_blocks);
	add_counter(&text, "disk_full_waits", &varve_counters->disk_full_waits);
	add_counter(&text, "requests", &varve_counters->requests);
	add_counter(&text, "fetched_blocks", &varve_counters->blocks_fetched);
	add_counter(&text, "wait_microseconds", &varve_counters->wait_microseconds);
	add_counter(&text, "errors", &varve_counters->errors);
	add_counter(&text, "throttled_microseconds", &varve_counters->throttled_microseconds);
	return text.data;
}
