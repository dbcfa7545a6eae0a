/*
 * sabotage.h: rules of the eviction that tests switch off, to see that they bite.
 *
 * varve.test_sabotage is refused unless the server was started with varve.debug = on.
 */
#ifndef VARVE_SABOTAGE_H
#define VARVE_SABOTAGE_H

#include "chunk_table.h"

typedef enum Sabotage
{
	SABOTAGE_OFF,
	SABOTAGE_GRACE,				/* pages are dropped although transactions that wrote them run */
	SABOTAGE_SEQUENCES,			/* pages of sequences are dropped */
	SABOTAGE_PAGE_LSN			/* missing pages are asked for at their own LSN */
} Sabotage;

static inline bool
sabotage_no_grace(void)
{
	return unlikely(varve_test_sabotage == SABOTAGE_GRACE);
}

static inline bool
sabotage_sequences(void)
{
	return unlikely(varve_test_sabotage == SABOTAGE_SEQUENCES);
}

static inline bool
sabotage_page_lsn(void)
{
	return unlikely(varve_test_sabotage == SABOTAGE_PAGE_LSN);
}

/* the blocks are about to be dropped: with SABOTAGE_PAGE_LSN their own LSN replaces what should be asked for */
extern void sabotage_before_drop(ChunkEntry *entry, int segment, BlockNumber first, BlockNumber end);

#endif
