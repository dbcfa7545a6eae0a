/*
 * physical_streams.h: see physical_streams.c.
 */
#pragma once

#include "replication/walsender_private.h"

/* of a walsender, by what was seen of it at one moment */
extern bool streams_physically(pid_t pid, WalSndState state, int sync_standby_priority);
extern void physical_streams_install(void);
