/*
 * way_in.h: see way_in.c.
 */
#pragma once

extern void way_in_install(void);
