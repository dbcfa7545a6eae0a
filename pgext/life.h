/* life.h: a data directory with holes belongs to exactly one start of the server */
#ifndef VARVE_LIFE_H
#define VARVE_LIFE_H

/* in the postmaster, at start: FATAL unless compute_ctl made these files for this start */
extern void life_begin(void);

/* where no pages come from a pageserver: FATAL if the data directory was made for a start in which they do */
extern void life_require_none(void);

#endif
