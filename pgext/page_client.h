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

/* waits a while, as for an answer: interruptibly, under locks as well */
extern void page_client_pause(long milliseconds);

/*
 * The same in two steps, with other requests in between. Sending waits for
 * nothing and may decline. NULL: the answer is lost or says that there is
 * none; ask with page_client_get, which will tell. The pages stay valid until
 * the request is dropped.
 */
#define PAGE_CLIENT_AHEAD_MAX 64
extern bool page_client_send_ahead(PageRequest *request);
extern const char *page_client_receive_ahead(uint64 request_id);
extern void page_client_drop_ahead(uint64 request_id);

#endif
