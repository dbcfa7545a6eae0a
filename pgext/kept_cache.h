/* kept_cache.h: what the cache holds, kept over a clean stop */
#ifndef VARVE_KEPT_CACHE_H
#define VARVE_KEPT_CACHE_H

/* once, in the postmaster, when all shared memory is there */
extern void kept_cache_start(void);

#endif
