/* backup_refusal.h: physical backups of a cache are refused */
#ifndef VARVE_BACKUP_REFUSAL_H
#define VARVE_BACKUP_REFUSAL_H

extern void backup_refusal_install(void);

/* entry point of the background worker, found by name in the library */
extern PGDLLEXPORT void varve_backup_watcher(Datum arg);

#endif
