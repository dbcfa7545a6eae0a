/*
 * physical_streams.h: see physical_streams.c.
 */
#pragma once

extern void physical_streams_end(int *rounds);
extern void physical_streams_install(void);
