/* commit_guard.h: visible means durable */
#ifndef VARVE_COMMIT_GUARD_H
#define VARVE_COMMIT_GUARD_H

/* registers the callbacks; called once, in the postmaster */
extern void commit_guard_install(void);
extern void utility_guard_install(void);

/* for statements that wait for the quorum outside a commit of their own: COMMIT PREPARED */
extern void commit_guard_begin(void);
extern void commit_guard_end(void);

/*
 * For a wait inside the guarded stretch that may still fail: hands over a
 * cancel or termination that the guard holds back.
 */
extern void commit_guard_yield(void);

#endif
