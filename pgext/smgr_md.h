/*
 * smgr_md.h: stock's storage manager as the sparse cache uses it; each
 * smgr_vNN.c implements it with the md* functions of its major version.
 */
#ifndef VARVE_SMGR_MD_H
#define VARVE_SMGR_MD_H

#include "storage/smgr.h"

#include "chunk_table.h"

extern RelationTag relation_tag(SMgrRelation relation);
extern char *fork_path(RelationTag relation, ForkNumber fork);

extern BlockNumber md_block_count(SMgrRelation relation, ForkNumber fork);
extern void md_read_blocks(SMgrRelation relation, ForkNumber fork, BlockNumber block, char **pages,
						   uint32 count);

#endif
