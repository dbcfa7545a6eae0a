/*
 * shadow.h: a full copy beside the cache, against which tests compare every page that is read.
 *
 * Only with varve.test_shadow, which is refused unless the server was started
 * with varve.debug = on.  All calls are made under the lock of the block's chunk.
 */
#ifndef VARVE_SHADOW_H
#define VARVE_SHADOW_H

#include "chunk_table.h"
#include "gucs.h"

extern void shadow_write(const ChunkKey *key, BlockNumber block, const char *page);
extern void shadow_check_local(const ChunkKey *key, BlockNumber block, const char *page);

/* a block that nobody is reading into a buffer may be in one already, and newer there than in any file */
extern void shadow_check_fetched(const ChunkKey *key, BlockNumber block, const char *page, bool no_buffer);

extern void shadow_forget_block(const ChunkKey *key, BlockNumber block);
extern void shadow_cut(RelationTag relation, ForkNumber fork, BlockNumber blocks);
extern void shadow_forget_database(Oid db);

static inline void
shadow_note_write(const ChunkKey *key, BlockNumber block, const char *page)
{
	if (unlikely(varve_test_shadow))
		shadow_write(key, block, page);
}

static inline void
shadow_compare_local(const ChunkKey *key, BlockNumber block, const char *page)
{
	if (unlikely(varve_test_shadow))
		shadow_check_local(key, block, page);
}

static inline void
shadow_compare_fetched(const ChunkKey *key, BlockNumber block, const char *page, bool no_buffer)
{
	if (unlikely(varve_test_shadow))
		shadow_check_fetched(key, block, page, no_buffer);
}

/* of a replica: the block changes, and not here */
static inline void
shadow_note_passed_over(const ChunkKey *key, BlockNumber block)
{
	if (unlikely(varve_test_shadow))
		shadow_forget_block(key, block);
}

/* in critical sections too: no error, no allocation */
static inline void
shadow_note_cut(RelationTag relation, ForkNumber fork, BlockNumber blocks)
{
	if (unlikely(varve_test_shadow))
		shadow_cut(relation, fork, blocks);
}

static inline void
shadow_note_database_gone(Oid db)
{
	if (unlikely(varve_test_shadow))
		shadow_forget_database(db);
}

#endif
