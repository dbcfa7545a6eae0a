/* page_compare.h: in what a page that came back differs from the one that was dropped */
#ifndef VARVE_PAGE_COMPARE_H
#define VARVE_PAGE_COMPARE_H

#include "common/relpath.h"
#include "storage/block.h"

typedef struct PageDifferences
{
	bool		beyond_masks;	/* in bytes that redo has to reproduce */
	uint32		all_visible_lost;	/* the flag, which index-only scans and DML rely on */
	/* of transactions and vacuums that are still running: */
	uint32		live_command_ids;
	uint32		live_tokens;
	uint32		live_cycle_id;
} PageDifferences;

extern void page_compare(uint32 fork, BlockNumber block, const char *dropped, const char *returned,
						 PageDifferences *differences);

#endif
