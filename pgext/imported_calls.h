/* imported_calls.h: calls of the server to functions of the C library, led through ours */
#ifndef VARVE_IMPORTED_CALLS_H
#define VARVE_IMPORTED_CALLS_H

/* from now on the executable calls `ours` where it calls the function of that name; FATAL if it never does */
extern void imported_call_replace(const char *name, void *ours);

#endif
