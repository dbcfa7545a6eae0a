/* slot_state.h: files of replication slots */
#ifndef VARVE_SLOT_STATE_H
#define VARVE_SLOT_STATE_H

#include "access/xlogdefs.h"

#define SLOT_DIRECTORY "pg_replslot/"

typedef struct SlotState
{
	/* logical, and meant to last */
	bool		is_kept;
	/* WAL from there on is needed */
	XLogRecPtr	restart_lsn;
} SlotState;

/* false if there is none that can be read */
extern bool slot_state_read(const char *path, SlotState *slot);

/* whether a slot's state is put in place under this name */
extern bool slot_state_is_path(const char *path);

/* whether this is how a slot is dropped */
extern bool slot_state_is_moved_away(const char *from, const char *to);

/* the lowest restart_lsn of all slots that are kept, as the files say it; the greatest LSN if there are none */
extern XLogRecPtr slot_state_oldest_restart(void);

#endif
