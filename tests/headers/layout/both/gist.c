/*
 * GiST: page_redo/src/rmgr/gist.rs.
 */
#include "postgres.h"
#include "access/gist.h"
#include "access/gist_private.h"
#include "access/gistxlog.h"
#include "../assertions.h"

/* The node sequence number is written as an LSN of a page: its high half first. */
FIELD(GISTPageOpaqueData, nsn, 0, 8);
FIELD(PageGistNSN, xlogid, 0, 4);
FIELD(PageGistNSN, xrecoff, 4, 4);
FIELD(GISTPageOpaqueData, rightlink, 8, 4);
FIELD(GISTPageOpaqueData, flags, 12, 2);
FIELD(GISTPageOpaqueData, gist_page_id, 14, 2);
NUMBER(sizeof(GISTPageOpaqueData), 16);

FIELD(gistxlogPageUpdate, ntodelete, 0, 2);
FIELD(gistxlogPageUpdate, ntoinsert, 2, 2);
FIELD(gistxlogDelete, ntodelete, 4, 2);
FIELD(gistxlogPageSplit, origrlink, 0, 4);
FIELD(gistxlogPageSplit, orignsn, 8, 8);
FIELD(gistxlogPageSplit, origleaf, 16, 1);
FIELD(gistxlogPageSplit, npage, 18, 2);
FIELD(gistxlogPageSplit, markfollowright, 20, 1);
FIELD(gistxlogPageDelete, deleteXid, 0, 8);
FIELD(gistxlogPageDelete, downlinkOffset, 8, 2);

FIELD(GISTDeletedPageContents, deleteXid, 0, 8);
NUMBER(sizeof(GISTDeletedPageContents), 8);
