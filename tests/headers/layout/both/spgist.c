/*
 * SP-GiST: page_redo/src/rmgr/spgist. Fields of bits are in bits.c.
 */
#include "postgres.h"
#include "access/spgist_private.h"
#include "access/spgxlog.h"
#include "../assertions.h"

FIELD(SpGistPageOpaqueData, flags, 0, 2);
FIELD(SpGistPageOpaqueData, nRedirection, 2, 2);
FIELD(SpGistPageOpaqueData, nPlaceholder, 4, 2);
FIELD(SpGistPageOpaqueData, spgist_page_id, 6, 2);
NUMBER(sizeof(SpGistPageOpaqueData), 8);

FIELD(SpGistInnerTupleData, size, 4, 2);
NUMBER(SGITHDRSZ, 8);
/* A node is an index tuple whose pointer is the downlink. */
NUMBER(SGNTHDRSZ, 8);
FIELD(SpGistNodeTupleData, t_tid, 0, 6);
FIELD(SpGistNodeTupleData, t_info, 6, 2);
NUMBER(INDEX_SIZE_MASK, 0x1fff);
FIELD(SpGistLeafTupleData, t_info, 4, 2);
FIELD(SpGistLeafTupleData, heapPtr, 6, 6);
FIELD(SpGistDeadTupleData, t_info, 4, 2);
FIELD(SpGistDeadTupleData, pointer, 6, 6);
FIELD(SpGistDeadTupleData, xid, 12, 4);
NUMBER(SGDTSIZE, 16);

FIELD(spgxlogState, isBuild, 4, 1);
NUMBER(sizeof(spgxlogState), 8);
FIELD(spgxlogAddLeaf, newPage, 0, 1);
FIELD(spgxlogAddLeaf, storesNulls, 1, 1);
FIELD(spgxlogAddLeaf, offnumLeaf, 2, 2);
FIELD(spgxlogAddLeaf, offnumHeadLeaf, 4, 2);
FIELD(spgxlogAddLeaf, offnumParent, 6, 2);
FIELD(spgxlogAddLeaf, nodeI, 8, 2);
NUMBER(sizeof(spgxlogAddLeaf), 10);
FIELD(spgxlogMoveLeafs, nMoves, 0, 2);
FIELD(spgxlogMoveLeafs, newPage, 2, 1);
FIELD(spgxlogMoveLeafs, replaceDead, 3, 1);
FIELD(spgxlogMoveLeafs, storesNulls, 4, 1);
FIELD(spgxlogMoveLeafs, offnumParent, 6, 2);
FIELD(spgxlogMoveLeafs, nodeI, 8, 2);
FIELD(spgxlogMoveLeafs, stateSrc, 12, 8);
ARRAY(spgxlogMoveLeafs, offsets, 20, 2);
FIELD(spgxlogAddNode, offnum, 0, 2);
FIELD(spgxlogAddNode, offnumNew, 2, 2);
FIELD(spgxlogAddNode, newPage, 4, 1);
FIELD(spgxlogAddNode, parentBlk, 5, 1);
FIELD(spgxlogAddNode, offnumParent, 6, 2);
FIELD(spgxlogAddNode, nodeI, 8, 2);
FIELD(spgxlogAddNode, stateSrc, 12, 8);
NUMBER(sizeof(spgxlogAddNode), 20);
FIELD(spgxlogSplitTuple, offnumPrefix, 0, 2);
FIELD(spgxlogSplitTuple, offnumPostfix, 2, 2);
FIELD(spgxlogSplitTuple, newPage, 4, 1);
FIELD(spgxlogSplitTuple, postfixBlkSame, 5, 1);
NUMBER(sizeof(spgxlogSplitTuple), 6);
FIELD(spgxlogPickSplit, isRootSplit, 0, 1);
FIELD(spgxlogPickSplit, nDelete, 2, 2);
FIELD(spgxlogPickSplit, nInsert, 4, 2);
FIELD(spgxlogPickSplit, initSrc, 6, 1);
FIELD(spgxlogPickSplit, initDest, 7, 1);
FIELD(spgxlogPickSplit, offnumInner, 8, 2);
FIELD(spgxlogPickSplit, initInner, 10, 1);
FIELD(spgxlogPickSplit, storesNulls, 11, 1);
FIELD(spgxlogPickSplit, innerIsParent, 12, 1);
FIELD(spgxlogPickSplit, offnumParent, 14, 2);
FIELD(spgxlogPickSplit, nodeI, 16, 2);
FIELD(spgxlogPickSplit, stateSrc, 20, 8);
ARRAY(spgxlogPickSplit, offsets, 28, 2);
FIELD(spgxlogVacuumLeaf, nDead, 0, 2);
FIELD(spgxlogVacuumLeaf, nPlaceholder, 2, 2);
FIELD(spgxlogVacuumLeaf, nMove, 4, 2);
FIELD(spgxlogVacuumLeaf, nChain, 6, 2);
FIELD(spgxlogVacuumLeaf, stateSrc, 8, 8);
ARRAY(spgxlogVacuumLeaf, offsets, 16, 2);
FIELD(spgxlogVacuumRoot, nDelete, 0, 2);
FIELD(spgxlogVacuumRoot, stateSrc, 4, 8);
ARRAY(spgxlogVacuumRoot, offsets, 12, 2);
FIELD(spgxlogVacuumRedirect, nToPlaceholder, 0, 2);
FIELD(spgxlogVacuumRedirect, firstPlaceholder, 2, 2);
