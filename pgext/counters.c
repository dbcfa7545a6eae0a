/*
 * counters.c: the shared block of counters.
 *
 * Reads that hit the cache are not counted: they run at the speed of stock
 * PostgreSQL, and one shared counter would be the slowest part of them.
 */
#include "postgres.h"

#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "counters.h"

Counters   *varve_counters = NULL;

void
counters_request_shmem(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(Counters)));
}

void
counters_start_shmem(void)
{
	bool		found;

	varve_counters = ShmemInitStruct("varve counters", sizeof(Counters), &found);
	if (found)
		return;

	/* the struct is nothing but counters */
	pg_atomic_uint64 *all = (pg_atomic_uint64 *) varve_counters;

	for (size_t i = 0; i < sizeof(Counters) / sizeof(pg_atomic_uint64); i++)
		pg_atomic_init_u64(&all[i], 0);
}
