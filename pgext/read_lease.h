/*
 * read_lease.h: see read_lease.c.
 */
#ifndef VARVE_READ_LEASE_H
#define VARVE_READ_LEASE_H

extern void read_lease_install(void);

/* returns when this is known to be the primary still, or as good as that; may be cancelled */
extern void read_lease_wait(void);

#endif							/* VARVE_READ_LEASE_H */
