/* gucs.h: the settings of the extension, all of them named varve.* */
#ifndef VARVE_GUCS_H
#define VARVE_GUCS_H

#include "access/xlogdefs.h"

extern char *varve_pageserver_connstr;
extern char *varve_tenant_id;
extern char *varve_timeline_id;
extern char *varve_auth_token_file;
extern char *varve_life_id;
extern char *varve_sync_standby_name;
extern int	varve_cache_entries;
extern int	varve_readahead_blocks;

/* parsed form of varve.start_lsn; invalid while that is empty */
extern XLogRecPtr varve_start_lsn;

extern void varve_define_gucs(void);

/* FATAL unless everything that a compute with remote pages needs is set */
extern void varve_require_remote_settings(void);

#endif
