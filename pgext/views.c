/*
 * views.c: the SQL functions behind the views varve.cache and varve.pageserver.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "chunk_table.h"
#include "counters.h"

PG_FUNCTION_INFO_V1(varve_cache);
PG_FUNCTION_INFO_V1(varve_pageserver);

#define MAX_COLUMNS 16

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

static uint64
value_of(pg_atomic_uint64 *counter)
{
	return pg_atomic_read_u64(counter);
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
	add(&row, totals.valid_blocks);
	add(&row, totals.valid_blocks * BLCKSZ);
	add(&row, value_of(&varve_counters->misses));
	add(&row, value_of(&varve_counters->filled_blocks));
	add(&row, value_of(&varve_counters->guard_refusals));
	add(&row, value_of(&varve_counters->fill_failures));
	add(&row, value_of(&varve_counters->recycled_entries));
	add(&row, value_of(&varve_counters->zero_pages_suspect));
	PG_RETURN_DATUM(row_datum(fcinfo, &row));
}

Datum
varve_pageserver(PG_FUNCTION_ARGS)
{
	Row			row = {0};

	require_remote_pages();
	add(&row, value_of(&varve_counters->requests));
	add(&row, value_of(&varve_counters->blocks_fetched));
	add(&row, value_of(&varve_counters->wait_microseconds));
	add(&row, value_of(&varve_counters->connects));
	add(&row, value_of(&varve_counters->reconnects));
	add(&row, value_of(&varve_counters->errors));
	PG_RETURN_DATUM(row_datum(fcinfo, &row));
}
