/* page_client.h: one connection per process to the pageserver */
#ifndef VARVE_PAGE_CLIENT_H
#define VARVE_PAGE_CLIENT_H

#include "page_messages.h"

/*
 * Asks for consecutive blocks and waits for them, reconnecting as long as it
 * takes; interruptible.  The pages stay valid until the next call.
 * request->id is chosen here.
 */
extern const char *page_client_get(PageRequest *request);

#endif
