/*
 * BRIN: page_redo/src/rmgr/brin.rs. Generic records (generic_xlog.c) have no struct: offset and length, two bytes
 * each, as generic.rs has it.
 */
#include "postgres.h"
#include "access/brin_page.h"
#include "access/brin_xlog.h"
#include "../assertions.h"

/* The type of a page is the last of these, its flags the one before. */
FIELD(BrinSpecialSpace, vector, 0, 4 * 2);
NUMBER(sizeof(BrinSpecialSpace), 8);

FIELD(BrinMetaPageData, brinMagic, 0, 4);
FIELD(BrinMetaPageData, brinVersion, 4, 4);
FIELD(BrinMetaPageData, pagesPerRange, 8, 4);
FIELD(BrinMetaPageData, lastRevmapPage, 12, 4);
NUMBER(sizeof(BrinMetaPageData), 16);
FIELD(RevmapContents, rm_tids, 0, 6);

FIELD(xl_brin_createidx, pagesPerRange, 0, 4);
FIELD(xl_brin_createidx, version, 4, 2);
FIELD(xl_brin_insert, heapBlk, 0, 4);
FIELD(xl_brin_insert, pagesPerRange, 4, 4);
FIELD(xl_brin_insert, offnum, 8, 2);
FIELD(xl_brin_update, oldOffnum, 0, 2);
FIELD(xl_brin_update, insert, 4, 12);
FIELD(xl_brin_samepage_update, offnum, 0, 2);
FIELD(xl_brin_revmap_extend, targetBlk, 0, 4);
FIELD(xl_brin_desummarize, pagesPerRange, 0, 4);
FIELD(xl_brin_desummarize, heapBlk, 4, 4);
FIELD(xl_brin_desummarize, regOffset, 8, 2);
