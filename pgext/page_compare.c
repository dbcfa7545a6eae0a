/*
 * page_compare.c: in what a page that came back differs from the one that was dropped.
 *
 * PostgreSQL says itself what redo need not reproduce: the mask functions of
 * its resource managers, made for wal_consistency_checking. Which one a page
 * is for is told by its special space, as pg_filedump does. What the masks
 * hide and a running transaction may still need is looked at apart.
 */
#include "postgres.h"

#include "access/bufmask.h"
#include "access/brin_page.h"
#include "access/brin_xlog.h"
#include "access/generic_xlog.h"
#include "access/ginxlog.h"
#include "access/gist.h"
#include "access/gistxlog.h"
#include "access/hash.h"
#include "access/hash_xlog.h"
#include "access/heapam_xlog.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/nbtxlog.h"
#include "access/spgist_private.h"
#include "access/spgxlog.h"
#include "access/transam.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "storage/bufpage.h"
#include "storage/lwlock.h"
#include "storage/procarray.h"
#include "storage/shmem.h"

#include "page_compare.h"

typedef void (*MaskFunction) (char *page, BlockNumber block);

/* of nbtutils.c, which keeps it to itself; the same in 15 to 17 */
typedef struct OneVacuum
{
	LockRelId	relation;
	BTCycleId	cycle_id;
} OneVacuum;

typedef struct Vacuums
{
	BTCycleId	counter;
	int			count;
	int			max;
	OneVacuum	vacuum[FLEXIBLE_ARRAY_MEMBER];
} Vacuums;

static uint16
last_two_bytes(const char *page)
{
	uint16		value;

	memcpy(&value, page + BLCKSZ - sizeof(value), sizeof(value));
	return value;
}

static bool
is_btree_page(const char *page)
{
	return PageGetSpecialSize((Page) page) == MAXALIGN(sizeof(BTPageOpaqueData)) &&
		last_two_bytes(page) <= MAX_BT_CYCLE_ID;
}

static bool
is_heap_page(const char *page)
{
	return PageGetSpecialSize((Page) page) == 0;
}

/* a sequence is told by its magic number; its page is never dropped, unless by sabotage */
static MaskFunction
mask_of_small_special(const char *page)
{
	uint32		magic;

	memcpy(&magic, PageGetSpecialPointer((Page) page), sizeof(magic));
	if (magic == 0x1717)
		return seq_mask;
	switch (last_two_bytes(page))
	{
		case SPGIST_PAGE_ID:
			return spg_mask;
		case BRIN_PAGETYPE_META:
		case BRIN_PAGETYPE_REVMAP:
		case BRIN_PAGETYPE_REGULAR:
			return brin_mask;
		default:
			return gin_mask;
	}
}

static MaskFunction
mask_of(const char *page)
{
	if (is_heap_page(page))
		return heap_mask;
	if (PageGetSpecialSize((Page) page) == MAXALIGN(sizeof(uint32)))
		return mask_of_small_special(page);
	if (is_btree_page(page))
		return btree_mask;
	switch (last_two_bytes(page))
	{
		case HASHO_PAGE_ID:
			return hash_mask;
		case GIST_PAGE_ID:
			return gist_mask;
		default:
			return generic_mask;
	}
}

/* lastUsedPages are hints, which no WAL record has and no mask hides */
static void
mask_spgist_metapage(char *page, BlockNumber block)
{
	if (block == SPGIST_METAPAGE_BLKNO && PageGetSpecialSize((Page) page) == MAXALIGN(sizeof(uint32)) &&
		last_two_bytes(page) == SPGIST_PAGE_ID)
		memset(&SpGistPageGetMeta((Page) page)->lastUsedPages, 0, sizeof(SpGistLUPCache));
}

static bool
differs_beyond_masks(BlockNumber block, const char *dropped, const char *returned)
{
	PGAlignedBlock a;
	PGAlignedBlock b;
	MaskFunction mask;

	/* extended and never logged: redo does not know it yet, whoever uses it initialises it */
	if (PageIsNew((Page) dropped) || PageIsNew((Page) returned))
		return !PageIsNew((Page) returned) || PageGetLSN((Page) dropped) >= wal_segment_size;

	memcpy(a.data, dropped, BLCKSZ);
	memcpy(b.data, returned, BLCKSZ);
	mask = mask_of(dropped);
	mask(a.data, block);
	mask(b.data, block);
	mask_spgist_metapage(a.data, block);
	mask_spgist_metapage(b.data, block);
	return memcmp(a.data, b.data, BLCKSZ) != 0;
}

static bool
is_running(TransactionId xid)
{
	return TransactionIdIsNormal(xid) && TransactionIdIsInProgress(xid);
}

static void
compare_tuples(const char *dropped, const char *returned, PageDifferences *differences)
{
	OffsetNumber last = Min(PageGetMaxOffsetNumber((Page) dropped), PageGetMaxOffsetNumber((Page) returned));

	for (OffsetNumber offset = FirstOffsetNumber; offset <= last; offset++)
	{
		ItemId		before = PageGetItemId((Page) dropped, offset);
		ItemId		after = PageGetItemId((Page) returned, offset);
		HeapTupleHeader old;
		HeapTupleHeader new;

		if (!ItemIdIsNormal(before) || !ItemIdIsNormal(after))
			continue;
		old = (HeapTupleHeader) PageGetItem((Page) dropped, before);
		new = (HeapTupleHeader) PageGetItem((Page) returned, after);
		if (!is_running(HeapTupleHeaderGetRawXmin(old)) &&
			((old->t_infomask & HEAP_XMAX_IS_MULTI) || !is_running(HeapTupleHeaderGetRawXmax(old))))
			continue;
		if (HeapTupleHeaderGetRawCommandId(old) != HeapTupleHeaderGetRawCommandId(new) ||
			((old->t_infomask ^ new->t_infomask) & HEAP_COMBOCID))
			differences->live_command_ids++;
		if (HeapTupleHeaderIsSpeculative(old) != HeapTupleHeaderIsSpeculative(new))
			differences->live_tokens++;
	}
}

static bool
vacuum_is_running(BTCycleId cycle_id)
{
	bool		found;
	bool		running = false;
	Vacuums    *vacuums = ShmemInitStruct("BTree Vacuum State", BTreeShmemSize(), &found);

	LWLockAcquire(BtreeVacuumLock, LW_SHARED);
	for (int i = 0; i < vacuums->count; i++)
		running |= vacuums->vacuum[i].cycle_id == cycle_id;
	LWLockRelease(BtreeVacuumLock);
	return running;
}

static void
compare_cycle_ids(const char *dropped, const char *returned, PageDifferences *differences)
{
	BTCycleId	before = BTPageGetOpaque((Page) dropped)->btpo_cycleid;

	if (before != 0 && before != BTPageGetOpaque((Page) returned)->btpo_cycleid && vacuum_is_running(before))
		differences->live_cycle_id++;
}

void
page_compare(uint32 fork, BlockNumber block, const char *dropped, const char *returned,
			 PageDifferences *differences)
{
	memset(differences, 0, sizeof(PageDifferences));
	/* a map comes back only if its entry was recycled; an image that was logged of it has an LSN */
	if (fork != MAIN_FORKNUM)
	{
		differences->beyond_masks =
			memcmp(dropped + sizeof(PageXLogRecPtr), returned + sizeof(PageXLogRecPtr),
				   BLCKSZ - sizeof(PageXLogRecPtr)) != 0;
		return;
	}
	differences->beyond_masks = differs_beyond_masks(block, dropped, returned);
	if (PageIsNew((Page) dropped) || PageIsNew((Page) returned))
		return;
	differences->all_visible_lost = is_heap_page(dropped) &&
		PageIsAllVisible((Page) dropped) && !PageIsAllVisible((Page) returned);
	if (is_heap_page(dropped) && is_heap_page(returned))
		compare_tuples(dropped, returned, differences);
	else if (is_btree_page(dropped) && is_btree_page(returned))
		compare_cycle_ids(dropped, returned, differences);
}
