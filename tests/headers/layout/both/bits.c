/*
 * Fields of bits have no offset that a compiler would tell, and macros that read pages are no constants: this
 * one is run. It prints what is not as page_redo assumes.
 */
#include "postgres.h"
#include "access/brin_page.h"
#include "access/htup_details.h"
#include "access/spgist_private.h"
#include "storage/bufpage.h"
#include "storage/itemid.h"

#include <stdio.h>
#include <string.h>

static int	wrong = 0;

/* The first four bytes of a struct whose field has this value, and all else zero. */
#define BITS(type, member, value, expected) \
	do { \
		type		whole; \
		uint32		word; \
		memset(&whole, 0, sizeof(whole)); \
		whole.member = (value); \
		memcpy(&word, &whole, sizeof(word)); \
		if (word != (uint32) (expected)) \
		{ \
			(printf)("%s.%s = %s: we assume %s, PostgreSQL has 0x%x\n", #type, #member, #value, #expected, word); \
			wrong++; \
		} \
	} while (0)

/* Anything else that takes a program to be found out. */
#define HOLDS(condition) \
	do { \
		if (!(condition)) \
		{ \
			(printf)("we assume %s\n", #condition); \
			wrong++; \
		} \
	} while (0)

static union
{
	BrinSpecialSpace space;
	struct
	{
		uint16		before[2];
		uint16		flags;
		uint16		type;
	}			assumed;
}			brin;

int
main(void)
{
	/* page/mod.rs */
	BITS(ItemIdData, lp_off, 0x7fff, 0x7fff);
	BITS(ItemIdData, lp_flags, 3, 3 << 15);
	BITS(ItemIdData, lp_len, 0x7fff, 0x7fffu << 17);

	/* spgist/tuple.rs */
	BITS(SpGistInnerTupleData, tupstate, 3, 3);
	BITS(SpGistInnerTupleData, allTheSame, 1, 1 << 2);
	BITS(SpGistInnerTupleData, nNodes, 0x1fff, 0x1fff << 3);
	BITS(SpGistInnerTupleData, prefixSize, 0xffff, 0xffffu << 16);
	BITS(SpGistLeafTupleData, tupstate, 3, 3);
	BITS(SpGistLeafTupleData, size, 0x3fffffff, 0x3fffffffu << 2);
	BITS(SpGistDeadTupleData, tupstate, 3, 3);
	BITS(SpGistDeadTupleData, size, 16, 16 << 2);

	/* spgist/tuple.rs: the two high bits are not the offset's. */
	SpGistLeafTupleData leaf = {.t_info = 0xc001};

	SGLT_SET_NEXTOFFSET(&leaf, 0x7abc);
	HOLDS(leaf.t_info == (0xc000 | 0x3abc));
	HOLDS(SGLT_GET_NEXTOFFSET(&leaf) == 0x3abc);

	/* brin.rs, mask.rs */
	brin.assumed.type = BRIN_PAGETYPE_REVMAP;
	brin.assumed.flags = BRIN_EVACUATE_PAGE;
	HOLDS(brin.space.vector[MAXALIGN(1) / sizeof(uint16) - 1] == BRIN_PAGETYPE_REVMAP);
	HOLDS(brin.space.vector[MAXALIGN(1) / sizeof(uint16) - 2] == BRIN_EVACUATE_PAGE);

	/* heap_tuple.rs: HeapTuple::is_only_locked, for all masks that there are. */
	for (uint32 mask = 0; mask <= 0xffff; mask++)
		HOLDS(HEAP_XMAX_IS_LOCKED_ONLY(mask) == ((mask & 0x0080) != 0 || (mask & 0x1050) == 0x0040));

	/* page/mod.rs: Page::init */
	PageHeaderData header = {.pd_lower = 28};

	PageSetPageSizeAndVersion((Page) &header, BLCKSZ, PG_PAGE_LAYOUT_VERSION);
	HOLDS(header.pd_pagesize_version == (8192 | 4));
	HOLDS(PageGetMaxOffsetNumber((Page) &header) == 1);

	return wrong != 0;
}
