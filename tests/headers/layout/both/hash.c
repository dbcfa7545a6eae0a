/*
 * Hash indexes: page_redo/src/rmgr/hash.
 */
#include "postgres.h"
#include "access/hash.h"
#include "access/hash_xlog.h"
#include "../assertions.h"

FIELD(HashPageOpaqueData, hasho_prevblkno, 0, 4);
FIELD(HashPageOpaqueData, hasho_nextblkno, 4, 4);
FIELD(HashPageOpaqueData, hasho_bucket, 8, 4);
FIELD(HashPageOpaqueData, hasho_flag, 12, 2);
FIELD(HashPageOpaqueData, hasho_page_id, 14, 2);
NUMBER(sizeof(HashPageOpaqueData), 16);

FIELD(HashMetaPageData, hashm_magic, 0, 4);
FIELD(HashMetaPageData, hashm_version, 4, 4);
FIELD(HashMetaPageData, hashm_ntuples, 8, 8);
FIELD(HashMetaPageData, hashm_ffactor, 16, 2);
FIELD(HashMetaPageData, hashm_bsize, 18, 2);
FIELD(HashMetaPageData, hashm_bmsize, 20, 2);
FIELD(HashMetaPageData, hashm_bmshift, 22, 2);
FIELD(HashMetaPageData, hashm_maxbucket, 24, 4);
FIELD(HashMetaPageData, hashm_highmask, 28, 4);
FIELD(HashMetaPageData, hashm_lowmask, 32, 4);
FIELD(HashMetaPageData, hashm_ovflpoint, 36, 4);
FIELD(HashMetaPageData, hashm_firstfree, 40, 4);
FIELD(HashMetaPageData, hashm_nmaps, 44, 4);
FIELD(HashMetaPageData, hashm_procid, 48, 4);
FIELD(HashMetaPageData, hashm_spares, 52, 4 * 98);
FIELD(HashMetaPageData, hashm_mapp, 444, 4 * 1024);
NUMBER(sizeof(HashMetaPageData), 4544);
/* Phases of a splitpoint group are counted with two bits. */
NUMBER(HASH_SPLITPOINT_PHASE_BITS, 2);
NUMBER(HASH_SPLITPOINT_PHASE_MASK, 3);

FIELD(xl_hash_init_meta_page, num_tuples, 0, 8);
FIELD(xl_hash_init_meta_page, procid, 8, 4);
FIELD(xl_hash_init_meta_page, ffactor, 12, 2);
FIELD(xl_hash_init_bitmap_page, bmsize, 0, 2);
FIELD(xl_hash_insert, offnum, 0, 2);
FIELD(xl_hash_add_ovfl_page, bmsize, 0, 2);
FIELD(xl_hash_add_ovfl_page, bmpage_found, 2, 1);
FIELD(xl_hash_split_allocate_page, new_bucket, 0, 4);
FIELD(xl_hash_split_allocate_page, old_bucket_flag, 4, 2);
FIELD(xl_hash_split_allocate_page, new_bucket_flag, 6, 2);
FIELD(xl_hash_split_allocate_page, flags, 8, 1);
FIELD(xl_hash_split_complete, old_bucket_flag, 0, 2);
FIELD(xl_hash_split_complete, new_bucket_flag, 2, 2);
FIELD(xl_hash_move_page_contents, ntups, 0, 2);
FIELD(xl_hash_squeeze_page, prevblkno, 0, 4);
FIELD(xl_hash_squeeze_page, nextblkno, 4, 4);
FIELD(xl_hash_squeeze_page, ntups, 8, 2);
FIELD(xl_hash_squeeze_page, is_prim_bucket_same_wrt, 10, 1);
FIELD(xl_hash_squeeze_page, is_prev_bucket_same_wrt, 11, 1);
FIELD(xl_hash_delete, clear_dead_marking, 0, 1);
FIELD(xl_hash_update_meta_page, ntuples, 0, 8);
