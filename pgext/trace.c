/*
 * trace.c: the session's trace, in page requests and in spans.
 *
 * A session that is part of a trace says so with varve.traceparent, in the
 * form of W3C's header.  Its page requests then carry that trace, and the
 * pageserver's spans hang below.  Where compute_ctl sends spans, each request
 * is a span of its own in between, reported to it in one datagram:
 *
 *   version u8 = 1 | trace id 16, span id 8, flags u8 | parent span id 8 |
 *   began u64, ended u64 (microseconds since 1970) |
 *   spc u32, db u32, rel u32, fork u8, block u32, blocks u32 |
 *   not_modified_since u64 | process id u32 | lost u32
 *
 * Integers are big-endian.  A datagram that the socket has no room for is
 * lost, and the next one says how many were.  A request that ends in an error
 * is not reported, nor one sent ahead whose page is not used.  Without the
 * setting a miss looks at one boolean.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/pg_prng.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/timestamp.h"

#include "server.h"
#include "trace.h"
#include "wire.h"

#define VERSION 1
#define TRACE_ID_LENGTH 16
#define FLAG_SAMPLED 1
#define REPORT_LENGTH (1 + TRACE_CONTEXT_LENGTH + SPAN_ID_LENGTH + 2 * 8 + 3 * 4 + 1 + 2 * 4 + 8 + 2 * 4)
/* 00-TRACE-SPAN-FLAGS */
#define TEXT_LENGTH (2 + 1 + 2 * TRACE_ID_LENGTH + 1 + 2 * SPAN_ID_LENGTH + 1 + 2)

static char *traceparent_text = NULL;
static char *socket_path = NULL;

/* parsed form of varve.traceparent */
typedef struct Traceparent
{
	bool		is_set;
	char		context[TRACE_CONTEXT_LENGTH];
} Traceparent;

static Traceparent session;
static int	report_socket = -1;
static uint32 lost = 0;

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* `length` bytes, not all of them zero; an id of zeros is none */
static bool
parse_bytes(const char *text, char *bytes, int length, bool may_be_zero)
{
	bool		is_zero = true;

	for (int i = 0; i < length; i++)
	{
		int			high = hex_digit(text[2 * i]);
		int			low = high < 0 ? -1 : hex_digit(text[2 * i + 1]);

		if (low < 0)
			return false;
		bytes[i] = (char) (high << 4 | low);
		is_zero = is_zero && bytes[i] == 0;
	}
	return may_be_zero || !is_zero;
}

static bool
parse(const char *text, char *context)
{
	const char *trace = text + 3;
	const char *span = trace + 2 * TRACE_ID_LENGTH + 1;
	const char *flags = span + 2 * SPAN_ID_LENGTH + 1;

	return strlen(text) == TEXT_LENGTH && strncmp(text, "00-", 3) == 0 && span[-1] == '-' && flags[-1] == '-' &&
		parse_bytes(trace, context, TRACE_ID_LENGTH, false) &&
		parse_bytes(span, context + TRACE_ID_LENGTH, SPAN_ID_LENGTH, false) &&
		parse_bytes(flags, context + TRACE_ID_LENGTH + SPAN_ID_LENGTH, 1, true);
}

static bool
check_traceparent(char **newval, void **extra, GucSource source)
{
	Traceparent *parsed = setting_alloc(sizeof(Traceparent));

	if (parsed == NULL)
		return false;
	memset(parsed, 0, sizeof(*parsed));
	parsed->is_set = **newval != '\0';
	if (parsed->is_set && !parse(*newval, parsed->context))
	{
		setting_free((char *) parsed);
		GUC_check_errdetail("A trace context looks like 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01, "
							"in lower case, as W3C's header traceparent has it.");
		return false;
	}
	*extra = parsed;
	return true;
}

static void
assign_traceparent(const char *newval, void *extra)
{
	session = *(Traceparent *) extra;
}

void
trace_define_gucs(void)
{
	DefineCustomStringVariable("varve.traceparent",
							   "Trace that page requests of this session belong to, as in W3C's header; empty: none.",
							   NULL, &traceparent_text, "", PGC_USERSET, 0,
							   check_traceparent, assign_traceparent, NULL);
	DefineCustomStringVariable("varve.trace_socket",
							   "Socket on which compute_ctl takes spans of page requests; empty: it does not.",
							   NULL, &socket_path, "", PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
}

TraceSpan
trace_begin(void)
{
	TraceSpan	span = {.is_traced = session.is_set};
	char	   *id = span.context + TRACE_ID_LENGTH;
	uint64		random;

	if (!session.is_set)
		return span;
	memcpy(span.context, session.context, TRACE_CONTEXT_LENGTH);
	span.is_ours = socket_path[0] != '\0' && (session.context[TRACE_CONTEXT_LENGTH - 1] & FLAG_SAMPLED) != 0;
	if (!span.is_ours)
		return span;
	memcpy(span.parent, id, SPAN_ID_LENGTH);
	/* never zero, which is no id */
	random = pg_prng_uint64_range(&pg_global_prng_state, 1, PG_UINT64_MAX);
	memcpy(id, &random, SPAN_ID_LENGTH);
	span.began = GetCurrentTimestamp();
	return span;
}

static bool
open_socket(void)
{
	if (report_socket >= 0)
		return true;
	if (!AcquireExternalFD())
		return false;
	report_socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (report_socket < 0)
		ReleaseExternalFD();
	return report_socket >= 0;
}

static char *
put_time(char *at, TimestampTz time)
{
	return put_u64(at, time + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY);
}

void
trace_end(const TraceSpan *span, const PageRequest *request)
{
	char		report[REPORT_LENGTH];
	char	   *at = report;
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (!span->is_ours || strlen(socket_path) >= sizeof(address.sun_path) || !open_socket())
		return;
	strcpy(address.sun_path, socket_path);
	at = put_u8(at, VERSION);
	at = put_bytes(at, span->context, TRACE_CONTEXT_LENGTH);
	at = put_bytes(at, span->parent, SPAN_ID_LENGTH);
	at = put_time(at, span->began);
	at = put_time(at, GetCurrentTimestamp());
	at = put_u32(at, request->relation.spc);
	at = put_u32(at, request->relation.db);
	at = put_u32(at, request->relation.rel);
	at = put_u8(at, (uint8) request->fork);
	at = put_u32(at, request->block);
	at = put_u32(at, request->blocks);
	at = put_u64(at, request->not_modified_since);
	at = put_u32(at, MyProcPid);
	at = put_u32(at, lost);
	Assert(at == report + REPORT_LENGTH);
	if (sendto(report_socket, report, REPORT_LENGTH, 0, (struct sockaddr *) &address, sizeof(address)) == REPORT_LENGTH)
		lost = 0;
	else
		lost++;
}
