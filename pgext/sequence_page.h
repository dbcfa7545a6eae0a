/*
 * sequence_page.h: recognises the page of a sequence.
 *
 * WAL holds a sequence 32 values ahead of its page (SEQ_LOG_VALS, sequence.c),
 * so a page that comes back from the pageserver would skip them.
 */
#ifndef VARVE_SEQUENCE_PAGE_H
#define VARVE_SEQUENCE_PAGE_H

#include "storage/bufpage.h"

#include "chunk_table.h"

/* sequence.c keeps both to itself */
#define SEQUENCE_MAGIC 0x1717

static inline bool
is_sequence_page(const ChunkKey *key, BlockNumber block, const char *page)
{
	uint32		magic;

	/* the page may come from the network: only one place of the special space is taken for granted */
	if (block != 0 || key->fork != MAIN_FORKNUM || PageIsNew((Page) page) ||
		((PageHeader) page)->pd_special != BLCKSZ - MAXALIGN(sizeof(uint32)))
		return false;
	memcpy(&magic, page + BLCKSZ - MAXALIGN(sizeof(uint32)), sizeof(magic));
	return magic == SEQUENCE_MAGIC;
}

#endif
