/*
 * GIN: page_redo/src/rmgr/gin.
 *
 * Not to be checked here: how posting lists pack item pointers into bytes (ginpostinglist.c).
 */
#include "postgres.h"
#include "access/gin_private.h"
#include "access/ginblock.h"
#include "access/ginxlog.h"
#include "../assertions.h"

FIELD(GinPageOpaqueData, rightlink, 0, 4);
FIELD(GinPageOpaqueData, maxoff, 4, 2);
FIELD(GinPageOpaqueData, flags, 6, 2);
NUMBER(sizeof(GinPageOpaqueData), 8);
NUMBER(sizeof(GinMetaPageData), 56);

FIELD(PostingItem, child_blkno, 0, 4);
FIELD(PostingItem, key, 4, 6);
NUMBER(sizeof(PostingItem), 10);
/* Items of posting trees begin behind the right bound of their page. */
NUMBER(MAXALIGN(sizeof(ItemPointerData)), 8);

FIELD(GinPostingList, first, 0, 6);
FIELD(GinPostingList, nbytes, 6, 2);
ARRAY(GinPostingList, bytes, 8, 1);

FIELD(ginxlogCreatePostingTree, size, 0, 4);
NUMBER(sizeof(ginxlogCreatePostingTree), 4);
FIELD(ginxlogInsert, flags, 0, 2);
NUMBER(sizeof(ginxlogInsert), 2);
FIELD(ginxlogInsertEntry, offset, 0, 2);
FIELD(ginxlogInsertEntry, isDelete, 2, 1);
FIELD(ginxlogInsertEntry, tuple, 4, 8);
FIELD(ginxlogInsertDataInternal, offset, 0, 2);
FIELD(ginxlogInsertDataInternal, newitem, 2, 10);
FIELD(ginxlogRecompressDataLeaf, nactions, 0, 2);
NUMBER(sizeof(ginxlogRecompressDataLeaf), 2);
FIELD(ginxlogVacuumDataLeafPage, data, 0, 2);
FIELD(ginxlogSegmentAction, segno, 0, 1);
FIELD(ginxlogSegmentAction, type, 1, 1);
NUMBER(sizeof(ginxlogSegmentAction), 2);
FIELD(ginxlogDeletePage, parentOffset, 0, 2);
FIELD(ginxlogDeletePage, rightLink, 4, 4);
FIELD(ginxlogDeletePage, deleteXid, 8, 4);
FIELD(ginxlogUpdateMeta, metadata, 16, 56);
FIELD(ginxlogUpdateMeta, prevTail, 72, 4);
FIELD(ginxlogUpdateMeta, newRightlink, 76, 4);
FIELD(ginxlogUpdateMeta, ntuples, 80, 4);
FIELD(ginxlogInsertListPage, rightlink, 0, 4);
FIELD(ginxlogDeleteListPages, metadata, 0, 56);
