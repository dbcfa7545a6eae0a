/*
 * commit_guard.c: a commit that others can see is durable on a quorum.
 *
 * Stock PostgreSQL lets a cancel or a termination end the wait for the
 * synchronous standby; the transaction then becomes visible although its WAL
 * may never reach a quorum.  SyncRepWaitForLSN looks straight at the flags
 * that the handlers of SIGINT and SIGTERM set, so the guard stands in front of
 * these handlers: from just before the commit record until the transaction has
 * ended it only notes that a signal came.  Afterwards a termination is
 * delivered; a cancel has come too late and is dropped, as stock does with a
 * cancel that arrives after the commit.
 *
 * Who notifies waits, guarded already, for a lock that another one holds until
 * its commit is durable.  Locks are waited for before the commit record only,
 * so a signal that comes in the middle of such a wait goes through.
 *
 * The handlers are wrapped in the first transaction of each process, whatever
 * process it is, so background and autovacuum workers are covered too.  Since
 * something loaded later may set others, each transaction that has written
 * wraps them again; one that has not would pay six system calls for nothing.
 *
 * What it does not cover: synchronous_commit = off, which is the user's
 * choice, and SIGQUIT or SIGKILL, which end the whole server.
 */
#include "postgres.h"

#include <signal.h>
#include <sys/prctl.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/wait_event.h"

#include "commit_guard.h"

/* the highest byte of a wait event is its class */
#define WAIT_EVENT_CLASS 0xFF000000U

typedef struct WrappedSignal
{
	int			number;
	pqsigfunc	stock_handler;
	volatile sig_atomic_t held_back;
} WrappedSignal;

static WrappedSignal cancel_signal = {SIGINT, NULL, 0};
static WrappedSignal terminate_signal = {SIGTERM, NULL, 0};
static volatile sig_atomic_t guarded = 0;

/*
 * Asleep until a heavyweight lock is granted.  Being in its queue is not
 * enough: ProcSleep looks at interrupts right after each sleep, but after the
 * last look it may be granted the lock, and then the flag that a handler has set
 * would be there for SyncRepWaitForLSN to find.  Nobody sleeps there with
 * interrupts held off; the handler of SIGALRM, in which lock_timeout sends its
 * SIGINT, holds them off itself.
 */
static bool
sleeps_for_lock(void)
{
	return (*(volatile uint32 *) my_wait_event_info & WAIT_EVENT_CLASS) == PG_WAIT_LOCK;
}

static void
guard_handler(SIGNAL_ARGS)
{
	WrappedSignal *wrapped = postgres_signal_arg == SIGINT ? &cancel_signal : &terminate_signal;

	if (guarded && !sleeps_for_lock())
		wrapped->held_back = 1;
	else
		wrapped->stock_handler(postgres_signal_arg);
}

/* like guard_handler, but wakes a wait that is able to look at the held-back signal */
static void
guard_handler_and_wake(SIGNAL_ARGS)
{
	int			save_errno = errno;

	guard_handler(postgres_signal_arg);
	if (guarded)
		SetLatch(MyLatch);
	errno = save_errno;
}

/*
 * The handler that was there is what pqsignal returns: from 17 on the kernel
 * knows of one wrapper for all of them only.
 */
static void
wrap_handler(WrappedSignal *wrapped)
{
	sigset_t	this_one;
	sigset_t	before;
	pqsigfunc	found;

	/* no signal may come between the new handler and the note of the old one */
	sigemptyset(&this_one);
	sigaddset(&this_one, wrapped->number);
	sigprocmask(SIG_BLOCK, &this_one, &before);
	found = pqsignal(wrapped->number, guard_handler_and_wake);
	if (found == SIG_DFL || found == SIG_IGN)
		pqsignal(wrapped->number, found);
	else if (found != guard_handler_and_wake && found != SIG_ERR)
		wrapped->stock_handler = found;
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (found == SIG_ERR)
		elog(FATAL, "varve: could not change the handler of signal %d: %m", wrapped->number);
}

/*
 * A backend whose postmaster dies gives up its wait as well, and other
 * backends go on for a moment: let the kernel end them all at once instead.
 */
static void
die_with_postmaster(void)
{
	static bool done = false;

	if (done || !IsUnderPostmaster)
		return;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
		elog(FATAL, "varve: could not ask to die with the postmaster: %m");
	/* it may have died before the request */
	if (getppid() != PostmasterPid)
		_exit(1);
	done = true;
}

static void
raise_guard(void)
{
	/* the guard comes first: a signal after it is held back, one before it is seen here */
	guarded = 1;
	CHECK_FOR_INTERRUPTS();

	/* interrupts may be held off; then the flags would still end the wait */
	if (QueryCancelPending)
		QueryCancelPending = false;
	if (ProcDiePending)
	{
		ProcDiePending = false;
		terminate_signal.held_back = 1;
	}
}

void
commit_guard_begin(void)
{
	die_with_postmaster();
	wrap_handler(&cancel_signal);
	wrap_handler(&terminate_signal);
	raise_guard();
}

/*
 * A transaction may still get its number behind the callbacks, if it notifies
 * (PreCommit_Notify): so one without is guarded as well, by what is there.
 */
static void
begin_before_commit(void)
{
	bool		has_wrapped = cancel_signal.stock_handler != NULL && terminate_signal.stock_handler != NULL;

	if (has_wrapped && !TransactionIdIsValid(GetTopTransactionIdIfAny()))
		raise_guard();
	else
		commit_guard_begin();
}

void
commit_guard_end(void)
{
	if (!guarded)
		return;
	guarded = 0;
	cancel_signal.held_back = 0;
	if (terminate_signal.held_back)
	{
		terminate_signal.held_back = 0;
		raise(SIGTERM);
	}
}

void
commit_guard_yield(void)
{
	if (!guarded || InterruptHoldoffCount > 0 || CritSectionCount > 0)
		return;
	if (!cancel_signal.held_back && !terminate_signal.held_back)
		return;

	/* nothing is committed yet: fail the transaction, the abort callback ends the guard */
	if (cancel_signal.held_back)
	{
		cancel_signal.held_back = 0;
		cancel_signal.stock_handler(SIGINT);
	}
	if (terminate_signal.held_back)
	{
		terminate_signal.held_back = 0;
		terminate_signal.stock_handler(SIGTERM);
	}
	CHECK_FOR_INTERRUPTS();
}

static void
on_transaction_event(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			begin_before_commit();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_ABORT:
			commit_guard_end();
			break;
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			/* a parallel worker writes no commit record; its leader waits */
			break;
	}
}

void
commit_guard_install(void)
{
	RegisterXactCallback(on_transaction_event, NULL);
}
