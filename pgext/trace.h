/* trace.h: OpenTelemetry's traces: page requests say which one they belong to, and compute_ctl is told how long they took */
#ifndef VARVE_TRACE_H
#define VARVE_TRACE_H

#include "datatype/timestamp.h"
#include "utils/guc.h"

#include "page_messages.h"

#define SPAN_ID_LENGTH 8

/* one page request, from its sending to the use of its answer */
typedef struct TraceSpan
{
	bool		is_traced;
	bool		is_ours;		/* measured here: the context names this span, not its parent */
	char		context[TRACE_CONTEXT_LENGTH];	/* what the request carries */
	char		parent[SPAN_ID_LENGTH];
	TimestampTz began;
} TraceSpan;

extern void trace_define_gucs(void);

/* of the session's trace, if it has one */
extern TraceSpan trace_begin(void);

/* what the request is to carry; NULL: nothing */
static inline const char *
trace_context(const TraceSpan *span)
{
	return span->is_traced ? span->context : NULL;
}

/* tells compute_ctl, if that wants to know; never waits */
extern void trace_end(const TraceSpan *span, const PageRequest *request);

#endif
