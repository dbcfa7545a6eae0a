/* page_images.h: over the hard limit, pages go into WAL whole, so that they may be dropped */
#ifndef VARVE_PAGE_IMAGES_H
#define VARVE_PAGE_IMAGES_H

#include "storage/smgr.h"

#include "chunk_table.h"

/*
 * Inside a read or an extension of the main fork of this very relation, at
 * that block, whose page is here: if the cache is over its hard limit, makes
 * some blocks of the relation droppable and drops them.
 */
extern void page_images_relieve(RelationTag relation, BlockNumber block, const char *page);

#endif
