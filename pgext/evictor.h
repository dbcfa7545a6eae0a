/* evictor.h: the background worker that keeps the cache within its size */
#ifndef VARVE_EVICTOR_H
#define VARVE_EVICTOR_H

extern void evictor_request_shmem(void);
extern void evictor_start_shmem(void);
extern void evictor_install(void);

/* the cache has grown over its size; may be called by any process, in no critical section */
extern void evictor_wake(void);

/* entry point of the background worker, found by name in the library */
extern PGDLLEXPORT void varve_evictor(Datum arg);

#endif
