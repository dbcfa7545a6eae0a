/* smgr_table.h: the server's own table of storage manager functions */
#ifndef VARVE_SMGR_TABLE_H
#define VARVE_SMGR_TABLE_H

/*
 * One entry of smgrsw, as a plain row of pointers.  smgr_vNN.c of each major
 * version says what stock has in the row and what is put there instead.
 */
typedef void (*SmgrFunction) (void);

typedef struct SmgrSlot
{
	const char *name;
	SmgrFunction stock;			/* what must be there; NULL if stock leaves it out */
	SmgrFunction ours;			/* NULL: left as it is */
} SmgrSlot;

extern const SmgrSlot smgr_slots[];
extern const int smgr_slot_count;

/* finds the table and replaces its entries; FATAL if anything is unexpected */
extern void smgr_table_interpose(void);

/*
 * The self-test: while a probe runs, our functions only note that they were
 * reached (smgr_probe_reached returns true) and do nothing.
 */
extern void smgr_table_selftest(void);
extern bool smgr_probe_reached(int slot);

/* of smgr_vNN.c: calls every function of smgr.h that leads to a replaced entry */
extern void smgr_probe_all(void);

#endif
