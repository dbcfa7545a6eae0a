/* local_relations.h: relations whose pages no pageserver has */
#ifndef VARVE_LOCAL_RELATIONS_H
#define VARVE_LOCAL_RELATIONS_H

#include "storage/smgr.h"

#include "chunk_table.h"

extern void local_relations_request_shmem(void);
extern void local_relations_start_shmem(void);

/* temporary and unlogged relations, and init forks: plain md, whatever the bits say */
extern bool is_local_fork(SMgrRelation relation, ForkNumber fork);

/* forget what is known: the relation's files are closed or changed */
extern void local_relations_forget(SMgrRelation relation);

/* after an init fork was made, so that every process looks again */
extern void local_relations_note_init_fork(void);

/* a look at the file system */
extern bool init_fork_exists(RelationTag relation);

/* exclusive: while an init fork is made; shared: while blocks are dropped. Before any lock of a chunk. */
extern void local_relations_lock(LWLockMode mode);
extern void local_relations_unlock(void);

#endif
