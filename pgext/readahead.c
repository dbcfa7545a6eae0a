/*
 * readahead.c: recognises sequential misses.
 *
 * Each process remembers, for a few relations, where its last fetched run
 * ended.  A miss there, or a little behind (VACUUM skips pages that need
 * nothing), is a scan: the run doubles, up to the chunk.  Anything else is
 * random access and fetches the one page.
 */
#include "postgres.h"

#include "common/hashfn.h"

#include "gucs.h"
#include "readahead.h"

#define SLOTS 64
/* blocks that a scan may leave out */
#define GAP_MAX 32
/* runs from this length on are those of a scan that goes on for long */
#define ESTABLISHED_RUN 16

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
readahead_run(RelationTag relation, ForkNumber fork, BlockNumber block, uint32 wanted, uint32 limit)
{
	Scan	   *scan = scan_of(relation, fork);
	bool		goes_on = block >= scan->expected && block - scan->expected <= GAP_MAX;
	uint32		run;

	scan->run = goes_on ? Min(scan->run * 2, (uint32) varve_chunk_blocks) : 1;
	run = Min(Min(Max(scan->run, wanted), limit), (uint32) varve_readahead_blocks);
	scan->expected = block + run;
	return run;
}

uint32
readahead_next(RelationTag relation, ForkNumber fork, BlockNumber *next)
{
	Scan	   *scan = scan_of(relation, fork);

	*next = scan->expected;
	if (scan->run < ESTABLISHED_RUN || varve_readahead_blocks < ESTABLISHED_RUN)
		return 0;
	return Min((uint32) varve_chunk_blocks, (uint32) varve_readahead_blocks);
}

void
readahead_note(RelationTag relation, ForkNumber fork, BlockNumber first, uint32 blocks)
{
	Scan	   *scan = scan_of(relation, fork);

	scan->run = Min(scan->run * 2, (uint32) varve_chunk_blocks);
	scan->expected = first + blocks;
}
