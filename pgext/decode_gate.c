/*
 * decode_gate.c: logical decoding sees what a quorum has, and nothing else.
 *
 * Stock decodes what the local disk has.  A subscriber would be shown a
 * transaction that no quorum has, and that is gone when another compute takes
 * over.  So no record is decoded before the quorum's commit LSN has reached its
 * end.  That goes for every record, also for those that decoding only counts:
 * a walsender tells its client how far it is, and what a client has confirmed it
 * is never sent again, though other WAL may come to stand there.
 *
 * On a replica all WAL is a quorum's.
 */
#include "postgres.h"

#include "access/rmgr.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogrecovery.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "replication/decode.h"
#include "replication/logical.h"
#include "replication/reorderbuffer.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/latch.h"

#include "decode_gate.h"
#include "walproposer_reply.h"

/* a quorum takes about as long; after a while there is no hurry any more */
#define FIRST_STEP_MS 1
#define LATER_STEP_MS 20
#define HURRIED_STEPS 200

typedef void (*DecodeFunction) (LogicalDecodingContext *context, XLogRecordBuffer *buffer);

static DecodeFunction stock_decode[RM_MAX_ID + 1];

/*
 * What the client says and asks meanwhile, and whether it is still there.
 * Stock does this where decoding has nothing to send for long.  Outside of
 * replication a client would not understand it.
 */
static void
listen_to_client(LogicalDecodingContext *context)
{
	bool		end_xact = context->end_xact;

	if (!am_walsender || MyWalSnd == NULL || context->update_progress == NULL ||
		(MyWalSnd->state != WALSNDSTATE_CATCHUP && MyWalSnd->state != WALSNDSTATE_STREAMING))
		return;
	context->end_xact = false;
	context->update_progress(context, InvalidXLogRecPtr, InvalidTransactionId, false);
	context->end_xact = end_xact;
}

static void
wait_for_quorum(LogicalDecodingContext *context, XLogRecPtr end)
{
	for (int steps = 0; !quorum_has(end); steps++)
	{
		CHECK_FOR_INTERRUPTS();
		listen_to_client(context);
		/* the latch is left alone: what it was set for is looked at behind this */
		(void) WaitLatch(NULL, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 steps < HURRIED_STEPS ? FIRST_STEP_MS : LATER_STEP_MS, PG_WAIT_EXTENSION);
	}
}

static void
decode_what_a_quorum_has(LogicalDecodingContext *context, XLogRecordBuffer *buffer)
{
	DecodeFunction stock = stock_decode[XLogRecGetRmid(buffer->record)];

	if (!RecoveryInProgress())
		wait_for_quorum(context, buffer->endptr);
	if (stock != NULL)
		stock(context, buffer);
	else
		/* as LogicalDecodingProcessRecord does where there is no function */
		ReorderBufferProcessXid(context->reorder, XLogRecGetXid(buffer->record), buffer->origptr);
}

void
decode_gate_install(void)
{
	for (int id = 0; id <= RM_MAX_BUILTIN_ID; id++)
	{
		stock_decode[id] = RmgrTable[id].rm_decode;
		RmgrTable[id].rm_decode = decode_what_a_quorum_has;
	}
}
