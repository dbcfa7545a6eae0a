/*
 * prefetch.c: blocks that are asked for before somebody waits for them.
 *
 * Bitmap scans, ANALYZE and others announce blocks through smgr_prefetch; for
 * sequential scans the next run is asked for as soon as one has come in, so
 * that it is on its way while the pages of this one are looked at.
 *
 * An answer is older than the read that uses it. Meanwhile another process may
 * have read, changed and written the block, and it may have been evicted: so
 * an answer counts only if nothing in its chunk has changed since it was asked
 * for (docs/sparse-cache.md A2). It is stored by who uses it, inside a read of the
 * same relation, never when it happens to come in; what nobody used goes when
 * the transaction ends.
 */
#include "postgres.h"

#include "access/xact.h"

#include "counters.h"
#include "fill.h"
#include "own_history.h"
#include "page_client.h"
#include "prefetch.h"
#include "readahead.h"
#include "smgr_md.h"
#include "sparse_cache.h"

/* 4 MiB of answers */
#define BLOCKS_MAX 512

typedef struct Held
{
	Fill		fill;
	uint64		request_id;
} Held;

static Held held[PAGE_CLIENT_AHEAD_MAX];
static int	held_count = 0;
static uint32 held_blocks = 0;

static bool
covers(const Fill *fill, const ChunkKey *key, BlockNumber block)
{
	return memcmp(&fill->key, key, sizeof(ChunkKey)) == 0 &&
		block >= fill->first && block < fill->first + fill->blocks;
}

static Held *
find(RelationTag relation, ForkNumber fork, BlockNumber block)
{
	ChunkKey	key = chunk_key(relation, fork, block);

	for (int i = 0; i < held_count; i++)
		if (covers(&held[i].fill, &key, block))
			return &held[i];
	return NULL;
}

static void
let_go(Held *one)
{
	page_client_drop_ahead(one->request_id);
	held_blocks -= one->fill.blocks;
	*one = held[--held_count];
}

/* asks for missing blocks, unless that would have to wait for anything */
static bool
ask(RelationTag relation, ForkNumber fork, BlockNumber first, uint32 limit)
{
	Fill		fill;
	PageRequest request;

	if (held_count == PAGE_CLIENT_AHEAD_MAX || held_blocks + limit > BLOCKS_MAX)
		return false;
	fill = fill_begin(relation, fork, first, limit);
	if (fill.generation == 0 || fill_needs_flush(&fill))
		return false;
	request = fill_request(&fill);
	if (!page_client_send_ahead(&request))
		return false;
	held[held_count++] = (Held) {fill, request.id};
	held_blocks += fill.blocks;
	count(&varve_counters->prefetches, 1);
	return true;
}

bool
prefetch_block(SMgrRelation relation, ForkNumber fork, BlockNumber block)
{
	RelationTag tag = relation_tag(relation);

	if (find(tag, fork, block) != NULL)
		return true;
	return block < md_block_count(relation, fork) && ask(tag, fork, block, 1);
}

void
prefetch_next_run(RelationTag relation, ForkNumber fork, BlockNumber end_of_file)
{
	BlockNumber next;
	uint32		run = readahead_next(relation, fork, &next);

	if (run == 0 || next >= end_of_file || find(relation, fork, next) != NULL ||
		sparse_cache_is_valid(relation, fork, next))
		return;
	(void) ask(relation, fork, next, Min(run, fill_limit(next, end_of_file)));
}

bool
prefetch_take(RelationTag relation, ForkNumber fork, BlockNumber block, char *page)
{
	Held	   *one = find(relation, fork, block);
	Fill		fill;
	const char *pages;
	bool		counts = false;

	if (one == NULL)
		return false;
	fill = one->fill;
	/* may raise an error, and then the end of the transaction lets go of it */
	pages = page_client_receive_ahead(one->request_id);
	if (pages != NULL)
		own_history_wait(pages, fill.blocks);
	if (pages != NULL && fill_end(&fill, block, pages))
	{
		memcpy(page, pages + (size_t) (block - fill.first) * BLCKSZ, BLCKSZ);
		if (fill.blocks > 1)
			readahead_note(relation, fork, fill.first, fill.blocks);
		count(&varve_counters->prefetch_hits, 1);
		counts = true;
	}
	let_go(one);
	return counts;
}

static void
let_all_go(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
			return;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			while (held_count > 0)
				let_go(&held[held_count - 1]);
	}
}

void
prefetch_install(void)
{
	RegisterXactCallback(let_all_go, NULL);
}
