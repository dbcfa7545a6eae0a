/* gucs.h: the settings of the extension, all of them named varve.* */
#ifndef VARVE_GUCS_H
#define VARVE_GUCS_H

#include "access/xlogdefs.h"

extern char *varve_pageserver_connstr;

/* what to connect to, also where the setting has no value yet: in a parallel worker that starts */
#define PAGESERVER_ADDRESS_MAX 2048
extern const char *const varve_pageserver_address;

extern char *varve_tenant_id;
extern char *varve_timeline_id;
extern char *varve_auth_token_file;
extern char *varve_life_id;
extern char *varve_sync_standby_name;
extern int	varve_cache_entries;
extern int	varve_cache_size;	/* blocks */
extern int	varve_cache_hard_limit; /* blocks; -1: twice the size */
extern int	varve_chunk_blocks;
extern int	varve_disk_reserve; /* MB; -1: shared_buffers and some more */
extern int	varve_grace_interval;	/* ms */
extern int	varve_read_lease;	/* seconds; 0: queries never wait */
extern int	varve_max_lag;		/* MB; 0: no back-pressure */
extern int	varve_max_moved_database;	/* MB */
extern int	varve_readahead_blocks;
extern int	varve_log_cache_interval;	/* s; 0: never */

/* for tests; refused without varve.debug */
extern bool varve_debug;
extern int	varve_test_sabotage;	/* a Sabotage */
extern bool varve_test_shadow;
extern int	varve_test_delay;	/* us; between two steps that others may come in between */

/* a replica that stands still at varve.start_lsn */
extern bool varve_static;

/* parsed form of varve.start_lsn; invalid while that is empty */
extern XLogRecPtr varve_start_lsn;

extern void varve_define_gucs(void);

/* FATAL unless everything that a compute with remote pages needs is set */
extern void varve_require_remote_settings(void);

#endif
