/*
 * smgr_selftest.c: does every replaced entry really get called?
 *
 * A compiler may call md* directly where it knows that the table is constant
 * (gcc does so for the last member).  A build in which it did that for a
 * function we rely on would read holes as pages, so each function of smgr.h
 * is called once at start, with our functions in probe mode.
 */
#include "postgres.h"

#include "smgr_table.h"

static bool probing = false;
static uint64 reached = 0;

bool
smgr_probe_reached(int slot)
{
	if (likely(!probing))
		return false;
	reached |= UINT64CONST(1) << slot;
	return true;
}

void
smgr_table_selftest(void)
{
	reached = 0;
	probing = true;
	smgr_probe_all();
	probing = false;

	for (int i = 0; i < smgr_slot_count; i++)
		if (smgr_slots[i].ours != NULL && !(reached & (UINT64CONST(1) << i)))
			ereport(FATAL,
					(errmsg("varve: this server does not call %s through its storage manager table",
							smgr_slots[i].name),
					 errhint("This build of PostgreSQL is not supported; see pgext/README.md.")));
}
