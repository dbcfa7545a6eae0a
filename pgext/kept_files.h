/* kept_files.h: files beside the database that live as long as the timeline */
#ifndef VARVE_KEPT_FILES_H
#define VARVE_KEPT_FILES_H

#include "access/xlogdefs.h"

extern void kept_files_request_shmem(void);
extern void kept_files_start_shmem(void);
extern void kept_files_install(void);

/* of the background worker: at its start, and before the server stops */
extern void kept_files_at_start(void);
extern void kept_files_before_stop(void);

#endif
