/* own_history.h: whether pages from the pageserver are of this compute's history */
#ifndef VARVE_OWN_HISTORY_H
#define VARVE_OWN_HISTORY_H

/* on a primary: waits, interruptibly, until it is known that no other compute had a hand in these pages */
extern void own_history_wait(const char *pages, uint32 blocks);

#endif
