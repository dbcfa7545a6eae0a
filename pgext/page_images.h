/* page_images.h: over the hard limit, pages go into WAL whole, so that they may be dropped */
#ifndef VARVE_PAGE_IMAGES_H
#define VARVE_PAGE_IMAGES_H

#include "storage/smgr.h"

#include "chunk_table.h"

/* the cache is over its hard limit, and this process may do something about it */
extern bool page_images_are_wanted(void);

/*
 * Inside a read or an extension of the main fork of this very relation, which
 * is known to be a permanent one, at that block: makes some blocks of the
 * relation droppable and drops them.
 */
extern void page_images_relieve(RelationTag relation, BlockNumber block);

#endif
