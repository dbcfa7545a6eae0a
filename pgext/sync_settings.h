/* sync_settings.h: settings a session must not use to get around the quorum */
#ifndef VARVE_SYNC_SETTINGS_H
#define VARVE_SYNC_SETTINGS_H

extern void sync_settings_install(void);

#endif
