/*
 * page_client.c: fetches pages from the pageserver over libpq, non-blocking.
 *
 * Every wait goes through the process latch and CHECK_FOR_INTERRUPTS, so a
 * query is cancelled while it waits, also when the pageserver is gone.  An
 * interrupted request leaves its answer behind in the connection; it is
 * recognised by its id and thrown away by the next request. Requests that were
 * sent ahead find their answers kept, whoever was waiting when they came.
 *
 * A lost connection is made again with growing, jittered pauses, for ever: the
 * page is needed and exists nowhere else.  Only an answer that says "error"
 * fails the query, and a process that is exiting has little patience.  Never
 * called in a critical section or under a chunk lock.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "common/pg_prng.h"
#include "libpq-fe.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/startup.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/procsignal.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "commit_guard.h"
#include "counters.h"
#include "gucs.h"
#include "page_client.h"
#include "trace.h"

#define PAUSE_FIRST_MS 20
#define PAUSE_MAX_MS 2000
#define COMPLAIN_AFTER_MS 10000
/* a connection attempt may hang in a network that drops packets */
#define CONNECT_TIMEOUT_MS 10000
#define TOKEN_MAX 4096
/* an exiting process reads catalogs to drop its temporary tables; autovacuum does it later as well */
#define EXIT_PATIENCE_MS 5000

/* a request that nobody waits for yet */
typedef struct Ahead
{
	PageRequest request;
	TraceSpan	span;
	char	   *message;		/* memory of libpq that holds the answer; NULL: it has not come */
	const char *pages;			/* inside the message */
} Ahead;

static PGconn *connection = NULL;
/* the connection is inside pagestream_v3 and may carry requests */
static bool streaming = false;
static bool ever_connected = false;
/* the pageserver takes the trace of a request; one of before there were traces would break off */
static bool takes_traces = false;
/* memory of libpq that holds the last answer */
static char *answer_buffer = NULL;
static uint64 next_request_id = 1;
static Ahead ahead[PAGE_CLIENT_AHEAD_MAX];
static int	ahead_count = 0;
static TimestampTz waiting_since;

/* with the connection its answers are lost; those that have come stay */
static void
forget_awaited(void)
{
	int			kept = 0;

	for (int i = 0; i < ahead_count; i++)
		if (ahead[i].message != NULL)
			ahead[kept++] = ahead[i];
	ahead_count = kept;
}

static void
disconnect(void)
{
	streaming = false;
	forget_awaited();
	if (connection == NULL)
		return;
	PQfinish(connection);
	connection = NULL;
	ReleaseExternalFD();
}

static void
disconnect_at_exit(int code, Datum arg)
{
	disconnect();
}

static void
free_answer(void)
{
	if (answer_buffer != NULL)
		PQfreemem(answer_buffer);
	answer_buffer = NULL;
}

/*
 * Callers may hold content locks, under which interrupts are off.  Reading a
 * block may fail there all the same, as it may on a broken disk, so a cancel
 * need not wait until the pageserver is back.
 */
static void
fail_if_cancelled_under_locks(void)
{
	if (InterruptHoldoffCount == 0 || CritSectionCount > 0)
		return;
	if (QueryCancelPending || ProcDiePending)
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("canceling statement that waits for a page from the pageserver")));
}

static void
fail_if_exiting(void)
{
	if (proc_exit_inprogress && CritSectionCount == 0 &&
		TimestampDifferenceExceeds(waiting_since, GetCurrentTimestamp(), EXIT_PATIENCE_MS))
		ereport(ERROR,
				(errcode(ERRCODE_ADMIN_SHUTDOWN),
				 errmsg("varve: an exiting process gives up waiting for the pageserver")));
}

/*
 * Under a content lock interrupts are off, and with them the barriers that
 * DROP DATABASE waits for. The one that there is closes files, of which this
 * process uses none while it waits here.
 */
static void
absorb_barriers_under_locks(void)
{
	if (InterruptHoldoffCount > 0 && CritSectionCount == 0 && ProcSignalBarrierPending)
		ProcessProcSignalBarrier();
}

static void
check_interrupts(void)
{
	CHECK_FOR_INTERRUPTS();
	/* redo on a replica has its own */
	if (AmStartupProcess())
		HandleStartupProcInterrupts();
	absorb_barriers_under_locks();
	commit_guard_yield();
	fail_if_cancelled_under_locks();
	fail_if_exiting();
}

/* one wait for the latch, the socket (if events name it) or time; then interrupts. Which of them it was */
static int
wait_interruptibly(int events, long timeout_ms)
{
	pgsocket	socket = events != 0 ? PQsocket(connection) : PGINVALID_SOCKET;
	int			occurred = WaitLatchOrSocket(MyLatch,
											 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH |
											 (socket != PGINVALID_SOCKET ? events : 0),
											 socket, timeout_ms, PG_WAIT_EXTENSION);

	ResetLatch(MyLatch);
	check_interrupts();
	return occurred;
}

void
page_client_pause(long milliseconds)
{
	(void) wait_interruptibly(0, milliseconds);
}

static void
read_token(char *token)
{
	int			fd = open(varve_auth_token_file, O_RDONLY | O_CLOEXEC);
	ssize_t		length = -1;

	if (fd >= 0)
	{
		length = read(fd, token, TOKEN_MAX);
		close(fd);
	}
	if (length < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("varve: could not read the token file \"%s\": %m", varve_auth_token_file)));
	while (length > 0 && isspace((unsigned char) token[length - 1]))
		length--;
	token[length] = '\0';
}

static void
begin_connecting(void)
{
	char		token[TOKEN_MAX + 1];

	/* later ones win, and the connection string may overrule those before it */
	const char *keywords[] = {"sslmode", "gssencmode", "keepalives_idle", "tcp_user_timeout",
	"user", "dbname", "password", "application_name", NULL};
	const char *values[] = {"disable", "disable", "10", "30000",
	"varve", varve_pageserver_address, token, "varve", NULL};

	read_token(token);
	if (!AcquireExternalFD())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("varve: no file descriptor left for the connection to the pageserver")));
	connection = PQconnectStartParams(keywords, values, 1);
	explicit_bzero(token, sizeof(token));
	if (connection == NULL)
	{
		ReleaseExternalFD();
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	}
}

/*
 * libpq is asked to go on only when the socket is ready: asked earlier it would
 * send on one that nobody has answered yet, and wait by itself until it may,
 * which no interrupt and no time-out of ours ends.
 */
static bool
finish_connecting(void)
{
	PostgresPollingStatusType poll = PGRES_POLLING_WRITING;
	TimestampTz start = GetCurrentTimestamp();

	if (PQstatus(connection) == CONNECTION_BAD)
		return false;
	while (poll != PGRES_POLLING_OK)
	{
		int			wanted = poll == PGRES_POLLING_READING ? WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE;

		if (poll == PGRES_POLLING_FAILED ||
			TimestampDifferenceExceeds(start, GetCurrentTimestamp(), CONNECT_TIMEOUT_MS))
			return false;
		if (wait_interruptibly(wanted, 1000) & wanted)
			poll = PQconnectPoll(connection);
	}
	return PQsetnonblocking(connection, 1) == 0;
}

/* sends what libpq has buffered */
static bool
flush_output(void)
{
	int			left;

	while ((left = PQflush(connection)) == 1)
	{
		(void) wait_interruptibly(WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE, 1000);
		if (PQconsumeInput(connection) == 0)
			return false;
	}
	return left == 0;
}

static bool
begin_streaming(void)
{
	char		command[128];
	PGresult   *result;
	ExecStatusType status;

	snprintf(command, sizeof(command), "pagestream_v3 %s %s", varve_tenant_id, varve_timeline_id);
	if (PQsendQuery(connection, command) != 1 || !flush_output())
		return false;
	while (PQisBusy(connection))
	{
		(void) wait_interruptibly(WL_SOCKET_READABLE, 1000);
		if (PQconsumeInput(connection) == 0)
			return false;
	}
	result = PQgetResult(connection);
	status = PQresultStatus(result);
	PQclear(result);
	return status == PGRES_COPY_BOTH;
}

static bool
connect_once(void)
{
	static bool exit_registered = false;

	/* an interrupt may have left a connection half made */
	disconnect();
	if (!exit_registered)
		on_proc_exit(disconnect_at_exit, 0);
	exit_registered = true;

	begin_connecting();
	if (!finish_connecting() || !begin_streaming())
		return false;
	streaming = true;
	takes_traces = PQparameterStatus(connection, TRACES_PARAMETER) != NULL;
	count(&varve_counters->connects, 1);
	if (ever_connected)
		count(&varve_counters->reconnects, 1);
	ever_connected = true;
	return true;
}

static int
encode(const PageRequest *request, const TraceSpan *span, char *bytes)
{
	return page_request_encode(request, takes_traces ? trace_context(span) : NULL, bytes);
}

static bool
send_request(const PageRequest *request, const TraceSpan *span)
{
	char		bytes[PAGE_REQUEST_MAX];
	int			length = encode(request, span, bytes);

	count(&varve_counters->requests, 1);
	return PQputCopyData(connection, bytes, length) == 1 && flush_output();
}

/* says once per ten seconds that a query is waiting, and for what */
static void
complain_if_slow(const PageRequest *request, TimestampTz start, int *complaints)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!TimestampDifferenceExceeds(start, now, COMPLAIN_AFTER_MS * (*complaints + 1)))
		return;
	(*complaints)++;
	ereport(LOG,
			(errmsg("varve: waiting for the pageserver since %ld s", (long) ((now - start) / USECS_PER_SEC)),
			 errdetail("Block %u of relation %u/%u/%u fork %d, not modified since %X/%X.%s%s",
					   request->block, request->relation.spc, request->relation.db,
					   request->relation.rel, request->fork,
					   LSN_FORMAT_ARGS(request->not_modified_since),
					   connection == NULL ? "" : " Connection: ",
					   connection == NULL ? "" :
					   streaming ? "waiting for the answer." : PQerrorMessage(connection))));
}

/* false: the connection is lost */
static bool
receive_message(const PageRequest *request, TimestampTz start, int *complaints, int *length)
{
	free_answer();
	while ((*length = PQgetCopyData(connection, &answer_buffer, 1)) == 0)
	{
		(void) wait_interruptibly(WL_SOCKET_READABLE, 1000);
		complain_if_slow(request, start, complaints);
		if (PQconsumeInput(connection) == 0)
			return false;
	}
	return *length > 0;
}

/*
 * Errors of a server that goes away or comes up, not of the page.  A query may
 * fail when the pageserver lags behind; redo, whose failure ends the server, waits.
 */
static bool
is_passing(const char *sqlstate)
{
	return strncmp(sqlstate, "57P0", 4) == 0 || strncmp(sqlstate, "08", 2) == 0 ||
		(AmStartupProcess() && strncmp(sqlstate, "55000", 5) == 0);
}

static void
raise_answer(const PageRequest *request, const PageAnswer *answer)
{
	const char *state = answer->sqlstate;

	count(&varve_counters->errors, 1);
	ereport(ERROR,
			(errcode(MAKE_SQLSTATE(state[0], state[1], state[2], state[3], state[4])),
			 errmsg("pageserver: %s", answer->message),
			 errdetail("Block %u of relation %u/%u/%u fork %d.", request->block,
					   request->relation.spc, request->relation.db, request->relation.rel,
					   request->fork)));
}

static void
fail_for_malformed(int length)
{
	disconnect();
	count(&varve_counters->errors, 1);
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("varve: malformed answer of %d bytes from the pageserver", length)));
}

static Ahead *
find_ahead(uint64 request_id)
{
	for (int i = 0; i < ahead_count; i++)
		if (ahead[i].request.id == request_id)
			return &ahead[i];
	return NULL;
}

static void
remove_ahead(Ahead *one)
{
	if (one->message != NULL)
		PQfreemem(one->message);
	*one = ahead[--ahead_count];
}

/* a message that does not answer the request that is waited for */
static void
take_in_other(uint64 request_id, int length)
{
	Ahead	   *one = find_ahead(request_id);
	PageAnswer	answer;

	/* ids rise: a higher one was never sent */
	if (request_id == 0 || request_id >= next_request_id)
		fail_for_malformed(length);
	/* to a request that was given up; a stream of them comes without a wait in between */
	if (one == NULL || one->message != NULL)
	{
		check_interrupts();
		return;
	}
	answer = page_answer_decode(&one->request, answer_buffer, length);
	switch (answer.kind)
	{
		case ANSWER_PAGES:
			one->message = answer_buffer;
			one->pages = answer.pages;
			answer_buffer = NULL;
			break;
		case ANSWER_ERROR:
			/* who reads the block asks for it and hears the error */
			remove_ahead(one);
			break;
		case ANSWER_MALFORMED:
			fail_for_malformed(length);
	}
}

/* NULL: the connection is lost or unusable, try again */
static const char *
exchange(const PageRequest *request, const TraceSpan *span, TimestampTz start, int *complaints)
{
	int			length;

	if (!send_request(request, span))
		return NULL;
	while (receive_message(request, start, complaints, &length))
	{
		uint64		id = page_answer_id(answer_buffer, length);
		PageAnswer	answer;

		if (id != request->id)
		{
			take_in_other(id, length);
			continue;
		}
		answer = page_answer_decode(request, answer_buffer, length);
		switch (answer.kind)
		{
			case ANSWER_PAGES:
				return answer.pages;
			case ANSWER_ERROR:
				if (is_passing(answer.sqlstate))
					return NULL;
				raise_answer(request, &answer);
				break;
			case ANSWER_MALFORMED:
				fail_for_malformed(length);
		}
	}
	return NULL;
}

bool
page_client_send_ahead(PageRequest *request)
{
	char		bytes[PAGE_REQUEST_MAX];
	TraceSpan	span;
	int			length;

	if (!streaming || ahead_count == PAGE_CLIENT_AHEAD_MAX)
		return false;
	request->id = next_request_id++;
	span = trace_begin();
	length = encode(request, &span, bytes);
	if (PQputCopyData(connection, bytes, length) != 1 || PQflush(connection) < 0)
	{
		disconnect();
		return false;
	}
	count(&varve_counters->requests, 1);
	ahead[ahead_count++] = (Ahead) {.request = *request, .span = span};
	return true;
}

const char *
page_client_receive_ahead(uint64 request_id)
{
	TimestampTz start = GetCurrentTimestamp();
	PageRequest request;
	Ahead	   *one;
	int			complaints = 0;
	int			length;

	waiting_since = start;
	/* receiving others moves them about and may remove this one */
	while ((one = find_ahead(request_id)) != NULL && one->message == NULL)
	{
		request = one->request;
		if (!flush_output() || !receive_message(&request, start, &complaints, &length))
			disconnect();
		else
			take_in_other(page_answer_id(answer_buffer, length), length);
	}
	count(&varve_counters->wait_microseconds, GetCurrentTimestamp() - start);
	if (one == NULL)
		return NULL;
	SetLatch(MyLatch);
	trace_end(&one->span, &one->request);
	count(&varve_counters->blocks_fetched, one->request.blocks);
	return one->pages;
}

void
page_client_drop_ahead(uint64 request_id)
{
	Ahead	   *one = find_ahead(request_id);

	if (one != NULL)
		remove_ahead(one);
}

/* waits before the next attempt, half of the pause at random so that backends do not come together */
static void
pause_before_retry(const PageRequest *request, TimestampTz start, int *complaints, int *pause_ms)
{
	complain_if_slow(request, start, complaints);
	disconnect();
	(void) wait_interruptibly(0, *pause_ms / 2 + pg_prng_uint64_range(&pg_global_prng_state, 0, *pause_ms / 2));
	*pause_ms = Min(*pause_ms * 2, PAUSE_MAX_MS);
}

const char *
page_client_get(PageRequest *request)
{
	TimestampTz start = GetCurrentTimestamp();
	int			pause_ms = PAUSE_FIRST_MS;
	int			complaints = 0;
	const char *pages;
	TraceSpan	span = trace_begin();

	if (CritSectionCount > 0)
		elog(PANIC, "varve: a page is missing inside a critical section");

	request->id = next_request_id++;
	waiting_since = start;
	for (;;)
	{
		if (streaming || connect_once())
		{
			pages = exchange(request, &span, start, &complaints);
			if (pages != NULL)
				break;
		}
		pause_before_retry(request, start, &complaints, &pause_ms);
	}
	/* the caller's own reason to look at the latch may have been reset with ours */
	SetLatch(MyLatch);
	trace_end(&span, request);
	count(&varve_counters->blocks_fetched, request->blocks);
	count(&varve_counters->wait_microseconds, GetCurrentTimestamp() - start);
	return pages;
}
