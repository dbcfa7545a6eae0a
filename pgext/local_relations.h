/* local_relations.h: relations whose pages no pageserver has */
#ifndef VARVE_LOCAL_RELATIONS_H
#define VARVE_LOCAL_RELATIONS_H

#include "storage/smgr.h"

/* temporary and unlogged relations, and init forks: plain md, whatever the bits say */
extern bool is_local_fork(SMgrRelation relation, ForkNumber fork);

/* forget what is known: the relation's files are closed or changed */
extern void local_relations_forget(SMgrRelation relation);

#endif
