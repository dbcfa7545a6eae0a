/* init_forks.h: what an init fork holds is in WAL before its transaction commits */
#ifndef VARVE_INIT_FORKS_H
#define VARVE_INIT_FORKS_H

#include "storage/smgr.h"

extern void init_forks_install(void);

/* this transaction has made the relation's init fork */
extern void init_forks_note(SMgrRelation relation);

#endif
