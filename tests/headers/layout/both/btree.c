/*
 * B-tree: page_redo/src/rmgr/btree.
 */
#include "postgres.h"
#include "access/nbtree.h"
#include "access/nbtxlog.h"
#include "../assertions.h"

FIELD(BTPageOpaqueData, btpo_prev, 0, 4);
FIELD(BTPageOpaqueData, btpo_next, 4, 4);
FIELD(BTPageOpaqueData, btpo_level, 8, 4);
FIELD(BTPageOpaqueData, btpo_flags, 12, 2);
FIELD(BTPageOpaqueData, btpo_cycleid, 14, 2);
NUMBER(sizeof(BTPageOpaqueData), 16);

/* The fields from btm_version to btm_last_cleanup_num_delpages are copied in one piece. */
FIELD(BTMetaPageData, btm_magic, 0, 4);
FIELD(BTMetaPageData, btm_version, 4, 4);
FIELD(BTMetaPageData, btm_root, 8, 4);
FIELD(BTMetaPageData, btm_level, 12, 4);
FIELD(BTMetaPageData, btm_fastroot, 16, 4);
FIELD(BTMetaPageData, btm_fastlevel, 20, 4);
FIELD(BTMetaPageData, btm_last_cleanup_num_delpages, 24, 4);
FIELD(BTMetaPageData, btm_last_cleanup_num_heap_tuples, 32, 8);
FIELD(BTMetaPageData, btm_allequalimage, 40, 1);
NUMBER(sizeof(BTMetaPageData), 48);
FIELD(xl_btree_metadata, version, 0, 4);
FIELD(xl_btree_metadata, root, 4, 4);
FIELD(xl_btree_metadata, level, 8, 4);
FIELD(xl_btree_metadata, fastroot, 12, 4);
FIELD(xl_btree_metadata, fastlevel, 16, 4);
FIELD(xl_btree_metadata, last_cleanup_num_delpages, 20, 4);
FIELD(xl_btree_metadata, allequalimage, 24, 1);

FIELD(xl_btree_insert, offnum, 0, 2);
FIELD(xl_btree_split, level, 0, 4);
FIELD(xl_btree_split, firstrightoff, 4, 2);
FIELD(xl_btree_split, newitemoff, 6, 2);
FIELD(xl_btree_split, postingoff, 8, 2);
FIELD(xl_btree_dedup, nintervals, 0, 2);
FIELD(BTDedupInterval, baseoff, 0, 2);
FIELD(BTDedupInterval, nitems, 2, 2);
NUMBER(sizeof(BTDedupInterval), 4);
FIELD(xl_btree_vacuum, ndeleted, 0, 2);
FIELD(xl_btree_vacuum, nupdated, 2, 2);
FIELD(xl_btree_delete, ndeleted, 4, 2);
FIELD(xl_btree_delete, nupdated, 6, 2);
FIELD(xl_btree_update, ndeletedtids, 0, 2);
NUMBER(SizeOfBtreeUpdate, 2);
FIELD(xl_btree_mark_page_halfdead, poffset, 0, 2);
FIELD(xl_btree_mark_page_halfdead, leafblk, 4, 4);
FIELD(xl_btree_mark_page_halfdead, leftblk, 8, 4);
FIELD(xl_btree_mark_page_halfdead, rightblk, 12, 4);
FIELD(xl_btree_mark_page_halfdead, topparent, 16, 4);
FIELD(xl_btree_unlink_page, leftsib, 0, 4);
FIELD(xl_btree_unlink_page, rightsib, 4, 4);
FIELD(xl_btree_unlink_page, level, 8, 4);
FIELD(xl_btree_unlink_page, safexid, 16, 8);
FIELD(xl_btree_unlink_page, leafleftsib, 24, 4);
FIELD(xl_btree_unlink_page, leafrightsib, 28, 4);
FIELD(xl_btree_unlink_page, leaftopparent, 32, 4);
FIELD(xl_btree_newroot, rootblk, 0, 4);
FIELD(xl_btree_newroot, level, 4, 4);

FIELD(BTDeletedPageData, safexid, 0, 8);
NUMBER(sizeof(BTDeletedPageData), 8);

/* tuple.rs: size, and what t_tid is used for when it is no heap TID. */
NUMBER(INDEX_SIZE_MASK, 0x1fff);
NUMBER(INDEX_ALT_TID_MASK, INDEX_AM_RESERVED_BIT);
