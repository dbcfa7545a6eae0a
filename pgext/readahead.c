/*
 * readahead.c: recognises sequential misses.
 *
 * Each process remembers, for a few relations, where its last fetched run
 * ended.  A miss right there is a scan: the run doubles, up to the chunk.
 * Anything else is random access and fetches the one page.
 */
#include "postgres.h"

#include "common/hashfn.h"

#include "gucs.h"
#include "readahead.h"

#define SLOTS 64

typedef struct Scan
{
	RelationTag relation;
	uint32		fork;
	BlockNumber expected;		/* block after the last run */
	uint32		run;
} Scan;

static Scan scans[SLOTS];

/* other scans that hash to the same slot push each other out: they read page by page */
static Scan *
scan_of(RelationTag relation, ForkNumber fork)
{
	ChunkKey	key = {relation, fork, 0};
	Scan	   *scan = &scans[hash_bytes((const unsigned char *) &key, sizeof(key)) % SLOTS];

	if (memcmp(&scan->relation, &relation, sizeof(relation)) != 0 || scan->fork != (uint32) fork)
	{
		scan->relation = relation;
		scan->fork = fork;
		scan->run = 1;
		/* a scan begins at the start: expect one there */
		scan->expected = 0;
	}
	return scan;
}

uint32
readahead_run(RelationTag relation, ForkNumber fork, BlockNumber block, uint32 limit)
{
	Scan	   *scan = scan_of(relation, fork);
	uint32		run;

	scan->run = block == scan->expected ? Min(scan->run * 2, (uint32) VARVE_CHUNK_BLOCKS) : 1;
	run = Min(Min(scan->run, limit), (uint32) varve_readahead_blocks);
	scan->expected = block + run;
	return run;
}
