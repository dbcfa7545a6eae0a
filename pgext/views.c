/*
 * views.c: the SQL functions behind the views of the schema varve.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"

#include "backpressure.h"
#include "chunk_table.h"
#include "counters.h"
#include "replica.h"
#include "walproposer_reply.h"

PG_FUNCTION_INFO_V1(varve_cache);
PG_FUNCTION_INFO_V1(varve_pageserver);
PG_FUNCTION_INFO_V1(varve_lag);
PG_FUNCTION_INFO_V1(varve_shadow);
PG_FUNCTION_INFO_V1(varve_replica);

#define MAX_COLUMNS 32

typedef struct Row
{
	Datum		values[MAX_COLUMNS];
	bool		nulls[MAX_COLUMNS];
	int			columns;
} Row;

static void
add(Row *row, uint64 value)
{
	row->values[row->columns++] = Int64GetDatum((int64) value);
}

static Datum
row_datum(FunctionCallInfo fcinfo, Row *row)
{
	TupleDesc	descriptor;

	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE ||
		descriptor->natts != row->columns)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("varve: the SQL objects do not fit this library"),
				 errhint("Run ALTER EXTENSION varve UPDATE.")));
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), row->values, row->nulls));
}

static void
require_remote_pages(void)
{
	if (varve_counters == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("relation files of this server are ordinary local files"),
				 errdetail("varve.pageserver_connstr was empty when the server started.")));
}

static void
add_counter(Row *row, pg_atomic_uint64 *counter)
{
	add(row, pg_atomic_read_u64(counter));
}

Datum
varve_cache(PG_FUNCTION_ARGS)
{
	Row			row = {0};
	ChunkTotals totals;

	require_remote_pages();
	chunk_table_totals(&totals);
	add(&row, totals.chunks);
	add(&row, totals.relations);
	add(&row, totals.free_entries);
	add(&row, totals.cached_blocks);
	add(&row, totals.cached_blocks * BLCKSZ);
	add(&row, totals.written_blocks);
	add(&row, totals.kept_blocks);
	add_counter(&row, &varve_counters->misses);
	add_counter(&row, &varve_counters->filled_blocks);
	add_counter(&row, &varve_counters->guard_refusals);
	add_counter(&row, &varve_counters->fill_failures);
	add_counter(&row, &varve_counters->fills_not_stored);
	add_counter(&row, &varve_counters->recycled_entries);
	add_counter(&row, &varve_counters->evicted_chunks);
	add_counter(&row, &varve_counters->evicted_blocks);
	add_counter(&row, &varve_counters->refetched_blocks);
	add_counter(&row, &varve_counters->punch_failures);
	add_counter(&row, &varve_counters->disk_full_waits);
	add_counter(&row, &varve_counters->page_images);
	add_counter(&row, &varve_counters->fsm_images);
	add_counter(&row, &varve_counters->suspect_zero_pages);
	PG_RETURN_DATUM(row_datum(fcinfo, &row));
}

Datum
varve_pageserver(PG_FUNCTION_ARGS)
{
	Row			row = {0};

	require_remote_pages();
	add_counter(&row, &varve_counters->requests);
	add_counter(&row, &varve_counters->prefetches);
	add_counter(&row, &varve_counters->prefetch_hits);
	add_counter(&row, &varve_counters->blocks_fetched);
	add_counter(&row, &varve_counters->wait_microseconds);
	add_counter(&row, &varve_counters->connects);
	add_counter(&row, &varve_counters->reconnects);
	add_counter(&row, &varve_counters->errors);
	PG_RETURN_DATUM(row_datum(fcinfo, &row));
}

Datum
varve_lag(PG_FUNCTION_ARGS)
{
	Row			row = {0};

	require_remote_pages();
	row.values[row.columns++] = LSNGetDatum(ingest_position());
	add(&row, backpressure_lag());
	add_counter(&row, &varve_counters->throttled);
	add_counter(&row, &varve_counters->throttled_microseconds);
	PG_RETURN_DATUM(row_datum(fcinfo, &row));
}

Datum
varve_shadow(PG_FUNCTION_ARGS)
{
	Row			row = {0};

	require_remote_pages();
	add_counter(&row, &varve_counters->shadow_compared);
	add_counter(&row, &varve_counters->shadow_refetched);
	add_counter(&row, &varve_counters->shadow_refetched_equal);
	add_counter(&row, &varve_counters->shadow_mismatches);
	add_counter(&row, &varve_counters->shadow_all_visible_lost);
	add_counter(&row, &varve_counters->shadow_live_cids_lost);
	add_counter(&row, &varve_counters->shadow_live_tokens_lost);
	add_counter(&row, &varve_counters->shadow_live_cycle_ids_lost);
	PG_RETURN_DATUM(row_datum(fcinfo, &row));
}

Datum
varve_replica(PG_FUNCTION_ARGS)
{
	Row			row = {0};

	require_remote_pages();
	add(&row, replica_records_replayed());
	add(&row, replica_records_passed_over());
	PG_RETURN_DATUM(row_datum(fcinfo, &row));
}
