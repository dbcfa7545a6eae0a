/*
 * kept_files.c: files beside the database that live as long as the timeline.
 *
 * Logical replication slots and the snapshots that decoding begins with are
 * files that no WAL record tells of.  So each is put into WAL whole, in a
 * record of ours, at the moment at which the server puts it in place; the
 * pageserver keeps it, and the next compute's base backup brings it along.
 * The server puts files in place by rename() and takes them away by unlink(),
 * and it calls both through words that can be changed (imported_calls.c).
 *
 * The order is what makes this right.
 *   - A slot's state is in WAL before the server acts on it: it raises the
 *     horizon behind which VACUUM removes rows of catalogs only after it has
 *     saved the slot.  Whatever removal is in WAL, the slot that allows it
 *     stands before it.
 *   - A snapshot is in WAL before the slot that begins with it, because the
 *     server writes it first.  It is forgotten only when no slot on disk
 *     begins with it, and none on disk is newer than in WAL.
 *   - Rewrites of catalogs (pg_logical/mappings) are in WAL by themselves.
 *   - That a slot was made or dropped is told only when a quorum has it.
 *
 * Physical slots are not kept: the only one of use is the walproposer's, which
 * makes it anew.  Nor is anything that changes once the shutdown checkpoint has
 * begun: that is only how far a subscriber has confirmed, and it knows that
 * itself.
 *
 * The record is a logical message, which stock redo passes over.  Its database
 * is 0, which no session has: so no user can write one (pg_logical_emit_message
 * needs no right), and no subscriber is shown one.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xloginsert.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "postmaster/interrupt.h"
#include "replication/message.h"
#include "replication/slot.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"

#include "imported_calls.h"
#include "kept_files.h"
#include "server.h"
#include "slot_state.h"
#include "statistics.h"
#include "walproposer_reply.h"

#define OPERATION_WRITE 'W'
#define OPERATION_REMOVE 'R'

/* statistics of some hundred thousand relations; everything else is far smaller */
#define CONTENTS_MAX (64 * 1024 * 1024)

#define SNAPSHOTS "pg_logical/snapshots/"
#define MAPPINGS "pg_logical/mappings/"

/* a walsender holds locks that others need, where it waits */
#define WALSENDER_PATIENCE_MS 5000
#define WAIT_STEP_MS 2

#define PROBE_FROM "varve.probe.new"
#define PROBE_TO "varve.probe"

typedef struct KeptFilesState
{
	/* the timeline has statistics that are not of this moment */
	pg_atomic_uint32 statistics_kept;
} KeptFilesState;

static KeptFilesState *state = NULL;

static char prefix[] = "varve-file";

/* a slot was made or dropped in this transaction: it does not end before a quorum has that */
static XLogRecPtr awaited = InvalidXLogRecPtr;

static bool probing = false;
static int	probes_reached = 0;

void
kept_files_request_shmem(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(KeptFilesState)));
}

/* whether WAL may be written here and now */
static bool
may_log(void)
{
	if (!IsUnderPostmaster || MyProc == NULL || RecoveryInProgress())
		return false;
	if (AmCheckpointerProcess() && ShutdownRequestPending)
		return false;
	return !(am_walsender && MyWalSnd != NULL && MyWalSnd->state == WALSNDSTATE_STOPPING);
}

static XLogRecPtr
log_file(char operation, const char *path, const char *contents, size_t length)
{
	xl_logical_message message = {0};
	XLogRecPtr	end;

	message.dbId = InvalidOid;
	message.transactional = false;
	message.prefix_size = sizeof(prefix);
	message.message_size = 1 + strlen(path) + 1 + length;
	XLogBeginInsert();
	XLogRegisterData((char *) &message, SizeOfLogicalMessage);
	XLogRegisterData(prefix, sizeof(prefix));
	XLogRegisterData(&operation, 1);
	XLogRegisterData(unconstify(char *, path), strlen(path) + 1);
	if (length > 0)
		XLogRegisterData(unconstify(char *, contents), length);
	/* an idle server shall not take its own notes for work */
	XLogSetRecordFlags(XLOG_MARK_UNIMPORTANT);
	end = XLogInsert(RM_LOGICALMSG_ID, XLOG_LOGICAL_MESSAGE);
	/* the WAL writer does not wait for more */
	XLogSetAsyncXactLSN(end);
	return end;
}

/* the whole file in memory of malloc; NULL, with errno, if that fails */
static char *
read_file(const char *path, size_t *length)
{
	struct stat about;
	char	   *contents;
	int			file = open(path, O_RDONLY);

	if (file < 0)
		return NULL;
	if (fstat(file, &about) != 0 || about.st_size > CONTENTS_MAX || (contents = malloc(about.st_size + 1)) == NULL)
	{
		errno = EFBIG;
		close(file);
		return NULL;
	}
	*length = about.st_size;
	if (read(file, contents, *length) != *length)
	{
		free(contents);
		contents = NULL;
		errno = EIO;
	}
	close(file);
	return contents;
}

static XLogRecPtr
log_contents_of(const char *file, const char *path)
{
	size_t		length;
	char	   *contents = read_file(file, &length);
	XLogRecPtr	end;

	if (contents == NULL)
	{
		ereport(LOG,
				(errmsg("varve: \"%s\" is not kept for the next start: %m", path)));
		return InvalidXLogRecPtr;
	}
	end = log_file(OPERATION_WRITE, path, contents, length);
	free(contents);
	return end;
}

/*
 * A slot that came or went.  A walsender's command has no end that could be
 * waited at, so it waits right here, among the locks of the slot; not for ever.
 */
static void
await_quorum(XLogRecPtr end)
{
	XLogFlush(end);
	if (!am_walsender)
	{
		awaited = Max(awaited, end);
		return;
	}
	for (int waited = 0; waited < WALSENDER_PATIENCE_MS && !ProcDiePending; waited += WAIT_STEP_MS)
	{
		if (quorum_has(end))
			return;
		pg_usleep(WAIT_STEP_MS * 1000L);
	}
	ereport(LOG,
			(errmsg("varve: no quorum has confirmed a change of a replication slot within %d s",
					WALSENDER_PATIENCE_MS / 1000)));
}

static void
before_commit(XactEvent event, void *arg)
{
	XLogRecPtr	end = awaited;

	if (XLogRecPtrIsInvalid(end))
		return;
	awaited = InvalidXLogRecPtr;
	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE)
		return;
	while (!quorum_has(end))
	{
		CHECK_FOR_INTERRUPTS();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, WAIT_STEP_MS,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

/* in WAL before it is in place: no slot on disk is newer than in WAL */
static void
before_slot_is_saved(const char *from, const char *to)
{
	SlotState	saved;
	SlotState	before;
	XLogRecPtr	end;

	if (!slot_state_read(from, &saved) || !saved.is_kept)
		return;
	end = log_contents_of(from, to);
	if (!XLogRecPtrIsInvalid(end) && !(slot_state_read(to, &before) && before.is_kept))
		await_quorum(end);
}

static void
after_slot_is_dropped(const char *directory, const char *moved_to)
{
	char		path[MAXPGPATH];
	SlotState	dropped;

	snprintf(path, sizeof(path), "%s/state", moved_to);
	if (!slot_state_read(path, &dropped) || !dropped.is_kept)
		return;
	snprintf(path, sizeof(path), "%s/state", directory);
	await_quorum(log_file(OPERATION_REMOVE, path, NULL, 0));
}

static bool
starts_with(const char *path, const char *beginning)
{
	return strncmp(path, beginning, strlen(beginning)) == 0;
}

static int
our_rename(const char *from, const char *to)
{
	bool		of_slots = starts_with(to, SLOT_DIRECTORY);
	int			result;

	if (of_slots && slot_state_is_path(to) && may_log())
		before_slot_is_saved(from, to);
	result = rename(from, to);
	if (unlikely(probing) && strcmp(to, PROBE_TO) == 0)
		probes_reached++;
	if (result != 0)
		return result;
	if (of_slots && slot_state_is_moved_away(from, to) && may_log())
		after_slot_is_dropped(from, to);
	else if (starts_with(to, SNAPSHOTS) && may_log())
		(void) log_contents_of(to, to);
	return 0;
}

/* where decoding can begin with this snapshot, or needs the rewrites of this file no more */
static bool
lsn_of_name(const char *path, XLogRecPtr *lsn)
{
	unsigned int high;
	unsigned int low;

	if (starts_with(path, SNAPSHOTS) &&
		sscanf(path + strlen(SNAPSHOTS), "%X-%X.snap", &high, &low) != 2)
		return false;
	if (starts_with(path, MAPPINGS) &&
		sscanf(path + strlen(MAPPINGS), "map-%*x-%*x-%X_%X-", &high, &low) != 2)
		return false;
	*lsn = (XLogRecPtr) high << 32 | low;
	return true;
}

static int
our_unlink(const char *path)
{
	int			result = unlink(path);
	int			save_errno = errno;
	XLogRecPtr	lsn;

	if (unlikely(probing) && strcmp(path, PROBE_TO) == 0)
		probes_reached++;
	/* what is not forgotten now is brought back by the next start, and removed by its first checkpoint */
	if (result == 0 && (starts_with(path, SNAPSHOTS) || starts_with(path, MAPPINGS)) && may_log() &&
		lsn_of_name(path, &lsn) && lsn < slot_state_oldest_restart())
		(void) log_file(OPERATION_REMOVE, path, NULL, 0);
	errno = save_errno;
	return result;
}

/* a compiler has no way around these words; but a server without them would lose slots in silence */
static void
probe(void)
{
	int			file = open(PROBE_FROM, O_CREAT | O_RDWR, 0600);

	if (file >= 0)
		close(file);
	probing = true;
	(void) durable_rename(PROBE_FROM, PROBE_TO, LOG);
	(void) durable_unlink(PROBE_TO, LOG);
	probing = false;
	if (probes_reached != 2)
		ereport(FATAL,
				(errmsg("varve: this server does not rename and remove files as expected"),
				 errhint("This build of PostgreSQL is not supported; see pgext/README.md.")));
}

void
kept_files_start_shmem(void)
{
	bool		found;

	state = ShmemInitStruct("varve kept files", sizeof(KeptFilesState), &found);
	if (!found)
		pg_atomic_init_u32(&state->statistics_kept, access(STATISTICS_FILE, F_OK) == 0);
	if (!IsUnderPostmaster)
		probe();
}

/* from here on they change: after a crash there are none, as in stock */
void
kept_files_at_start(void)
{
	if (pg_atomic_exchange_u32(&state->statistics_kept, 0) != 0)
		(void) log_file(OPERATION_REMOVE, STATISTICS_FILE, NULL, 0);
}

/* how far subscribers have confirmed is on no disk yet */
static void
save_slots(void)
{
	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots; i++)
	{
		ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];

		if (!slot->in_use || !SlotIsLogical(slot))
			continue;
		SpinLockAcquire(&slot->mutex);
		slot->just_dirtied = true;
		slot->dirty = true;
		SpinLockRelease(&slot->mutex);
	}
	LWLockRelease(ReplicationSlotControlLock);
	checkpoint_slots();
}

void
kept_files_before_stop(void)
{
	XLogRecPtr	end;

	save_slots();
	statistics_write();
	end = log_contents_of(STATISTICS_FILE, STATISTICS_FILE);
	pg_atomic_write_u32(&state->statistics_kept, !XLogRecPtrIsInvalid(end));
}

void
kept_files_install(void)
{
	imported_call_replace("rename", our_rename);
	imported_call_replace("unlink", our_unlink);
	RegisterXactCallback(before_commit, NULL);
}
