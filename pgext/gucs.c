/*
 * gucs.c: declares the settings and checks that they make sense together.
 *
 * compute_ctl sets nearly all of them on the command line of the server, so
 * that ALTER SYSTEM cannot change where pages come from.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "miscadmin.h"
#include "postmaster/postmaster.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/pg_lsn.h"

#include "chunk_table.h"
#include "counters_text.h"
#include "gucs.h"
#include "sabotage.h"
#include "server.h"
#include "trace.h"

/* in blocks: 8 GB */
#define CACHE_SIZE_DEFAULT (8 * 1024 * (1024 * 1024 / BLCKSZ))

char	   *varve_pageserver_connstr = NULL;
char	   *varve_tenant_id = NULL;
char	   *varve_timeline_id = NULL;
char	   *varve_auth_token_file = NULL;
char	   *varve_life_id = NULL;
char	   *varve_sync_standby_name = NULL;
int			varve_cache_entries = 262144;
int			varve_cache_size = CACHE_SIZE_DEFAULT;
int			varve_cache_hard_limit = -1;
int			varve_chunk_blocks = CHUNK_BLOCKS_MAX;
int			varve_disk_reserve = -1;
int			varve_grace_interval = 1000;
int			varve_read_lease = 10;
int			varve_max_lag = 500;
int			varve_max_moved_database = 1024;
int			varve_readahead_blocks = CHUNK_BLOCKS_MAX;
int			varve_log_cache_interval = 300;
bool		varve_debug = false;
int			varve_test_sabotage = SABOTAGE_OFF;
bool		varve_test_shadow = false;
int			varve_test_delay = 0;
bool		varve_static = false;
XLogRecPtr	varve_start_lsn = InvalidXLogRecPtr;

static char *start_lsn_text = NULL;
static char *counters_unused = NULL;

static const struct config_enum_entry sabotages[] = {
	{"off", SABOTAGE_OFF, false},
	{"grace", SABOTAGE_GRACE, false},
	{"sequences", SABOTAGE_SEQUENCES, false},
	{"page_lsn", SABOTAGE_PAGE_LSN, false},
	{NULL, 0, false}
};

/* tenant and timeline ids go into a command to the pageserver: 32 hex digits and nothing else */
static bool
check_id(char **newval, void **extra, GucSource source)
{
	size_t		length = strlen(*newval);

	if (length == 0)
		return true;
	if (length != 32 || strspn(*newval, "0123456789abcdef") != 32)
	{
		GUC_check_errdetail("An id is 32 lower-case hexadecimal digits.");
		return false;
	}
	return true;
}

static bool
check_start_lsn(char **newval, void **extra, GucSource source)
{
	bool		failed = false;
	XLogRecPtr *parsed;
	XLogRecPtr	lsn = InvalidXLogRecPtr;

	if (**newval != '\0')
		lsn = pg_lsn_in_internal(*newval, &failed);
	if (failed)
	{
		GUC_check_errdetail("An LSN looks like 0/16B9188.");
		return false;
	}
	parsed = setting_alloc(sizeof(XLogRecPtr));
	if (parsed == NULL)
		return false;
	*parsed = lsn;
	*extra = parsed;
	return true;
}

static void
assign_start_lsn(const char *newval, void *extra)
{
	varve_start_lsn = *(XLogRecPtr *) extra;
}

/*
 * Where the pageserver is, for who connects to it.  A parallel worker that
 * starts resets all settings and takes its leader's, one by one; some of these
 * look names up in catalogs, whose pages it may have to fetch before this
 * setting has its value again.  So it keeps the value that it was born with.
 */
static char pageserver_address[PAGESERVER_ADDRESS_MAX];
const char *const varve_pageserver_address = pageserver_address;

static bool
check_pageserver_connstr(char **newval, void **extra, GucSource source)
{
	if (strlen(*newval) < PAGESERVER_ADDRESS_MAX)
		return true;
	GUC_check_errdetail("A connection string has less than %d bytes.", PAGESERVER_ADDRESS_MAX);
	return false;
}

static void
assign_pageserver_connstr(const char *newval, void *extra)
{
	if (!(InitializingParallelWorker && newval[0] == '\0'))
		strlcpy(pageserver_address, newval, sizeof(pageserver_address));
}

static void
define_text(const char *name, const char *description, char **variable, const char *boot,
			GucContext context, GucStringCheckHook check)
{
	DefineCustomStringVariable(name, description, NULL, variable, boot, context,
							   GUC_SUPERUSER_ONLY, check, NULL, NULL);
}

static void
define_number(const char *name, const char *description, int *variable, int boot, int least, int most,
			  GucContext context, int unit, GucIntCheckHook check)
{
	DefineCustomIntVariable(name, description, NULL, variable, boot, least, most, context, unit,
							check, NULL, NULL);
}

/* of a running server, where require_debug does not come by */
static bool
check_delay(int *newval, void **extra, GucSource source)
{
	if (*newval == 0 || varve_debug)
		return true;
	GUC_check_errdetail("It is for tests: only a server that was started with varve.debug = on takes it.");
	return false;
}

/* a chunk must not cross a segment, and its bits are in whole words or less than one */
static bool
check_chunk_blocks(int *newval, void **extra, GucSource source)
{
	if ((*newval & (*newval - 1)) == 0)
		return true;
	GUC_check_errdetail("The number of blocks must be a power of two.");
	return false;
}

static void
define_limits(void)
{
	define_number("varve.cache_size",
				  "Local disk that pages of relations may take; those that are never evicted come on top.",
				  &varve_cache_size, CACHE_SIZE_DEFAULT, 0, INT_MAX / 2, PGC_SIGHUP, GUC_UNIT_BLOCKS, NULL);
	define_number("varve.cache_hard_limit",
				  "Size of the cache over which pages that may not be evicted are logged whole first; -1: twice varve.cache_size.",
				  &varve_cache_hard_limit, -1, -1, INT_MAX / 2, PGC_SIGHUP, GUC_UNIT_BLOCKS, NULL);
	define_number("varve.cache_entries",
				  "Number of chunks (and relations) the sparse cache can keep track of.",
				  &varve_cache_entries, 262144, 256, 64 * 1024 * 1024, PGC_POSTMASTER, 0, NULL);
	define_number("varve.chunk_blocks", "Number of blocks that are evicted together.",
				  &varve_chunk_blocks, CHUNK_BLOCKS_MAX, 8, CHUNK_BLOCKS_MAX, PGC_POSTMASTER, 0,
				  check_chunk_blocks);
	define_number("varve.disk_reserve",
				  "Free space that the cache leaves on the local disk; -1: shared_buffers and 64 MB.",
				  &varve_disk_reserve, -1, -1, INT_MAX / 1024, PGC_SIGHUP, GUC_UNIT_MB, NULL);
	define_number("varve.grace_interval", "Time between the beginnings of two grace periods of the eviction.",
				  &varve_grace_interval, 1000, 0, 60000, PGC_SIGHUP, GUC_UNIT_MS, NULL);
	define_number("varve.max_lag",
				  "WAL that the pageserver may lag behind before writers slow down; 0: they never do.",
				  &varve_max_lag, 500, 0, INT_MAX / 1024, PGC_SIGHUP, GUC_UNIT_MB, NULL);
	define_number("varve.max_moved_database", "Largest database that ALTER DATABASE may move to another tablespace.",
				  &varve_max_moved_database, 1024, 0, INT_MAX / 1024, PGC_SUSET, GUC_UNIT_MB, NULL);
	define_number("varve.read_lease",
				  "Time for which queries begin after a quorum of safekeepers followed this server; 0: they always do.",
				  &varve_read_lease, 10, 0, 24 * 3600, PGC_SUSET, GUC_UNIT_S, NULL);
	define_number("varve.readahead_blocks", "Longest run of blocks that one request fetches.",
				  &varve_readahead_blocks, CHUNK_BLOCKS_MAX, 1, CHUNK_BLOCKS_MAX, PGC_USERSET, 0, NULL);
	define_number("varve.log_cache_interval",
				  "Time between two lines of the server log about the cache; 0: only one at the stop.",
				  &varve_log_cache_interval, 300, 0, 24 * 3600, PGC_SIGHUP, GUC_UNIT_S, NULL);
}

static void
define_tests(void)
{
	DefineCustomBoolVariable("varve.debug", "Allows the settings varve.test_*.", NULL,
							 &varve_debug, false, PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomEnumVariable("varve.test_sabotage", "Rule of the eviction to break. Loses data.", NULL,
							 &varve_test_sabotage, SABOTAGE_OFF, sabotages, PGC_POSTMASTER,
							 GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	define_number("varve.test_delay", "Microseconds between the coming of a page and its use, and within redo of a replica.",
				  &varve_test_delay, 0, 0, 10000000, PGC_SUSET, 0, check_delay);
	DefineCustomBoolVariable("varve.test_shadow", "Compares every page read with a full copy.", NULL,
							 &varve_test_shadow, false, PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
}

void
varve_define_gucs(void)
{
	DefineCustomStringVariable("varve.pageserver_connstr",
							   "Connection string of the pageserver; empty: relation files are ordinary local files.",
							   NULL, &varve_pageserver_connstr, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   check_pageserver_connstr, assign_pageserver_connstr, NULL);
	define_text("varve.tenant_id", "Tenant whose pages this server reads.",
				&varve_tenant_id, "", PGC_POSTMASTER, check_id);
	define_text("varve.timeline_id", "Timeline whose pages this server reads.",
				&varve_timeline_id, "", PGC_POSTMASTER, check_id);
	define_text("varve.auth_token_file", "File with the token presented to the pageserver.",
				&varve_auth_token_file, "", PGC_POSTMASTER, NULL);
	define_text("varve.life_id",
				"Id of this life of the data directory; must equal the content of the file varve.life.",
				&varve_life_id, "", PGC_POSTMASTER, NULL);
	define_text("varve.sync_standby_name",
				"application_name that only the walproposer's walsender may carry.",
				&varve_sync_standby_name, "walproposer", PGC_POSTMASTER, NULL);

	DefineCustomStringVariable("varve.start_lsn",
							   "LSN at which the data directory was made.", NULL,
							   &start_lsn_text, "", PGC_POSTMASTER, 0,
							   check_start_lsn, assign_start_lsn, NULL);
	DefineCustomBoolVariable("varve.static", "Pages are read as of varve.start_lsn, for ever.", NULL,
							 &varve_static, false, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("varve.counters", "What the cache holds, and what it has done since the start.", NULL,
							   &counters_unused, "", PGC_INTERNAL,
							   GUC_SUPERUSER_ONLY | GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE,
							   NULL, NULL, counters_text);
	define_limits();
	trace_define_gucs();
	define_tests();
	MarkGUCPrefixReserved("varve");
}

static void
require(bool satisfied, const char *setting)
{
	if (!satisfied)
		ereport(FATAL,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("varve: %s must be set when varve.pageserver_connstr is", setting)));
}

/* a test's setting that got into somebody's configuration must not lose data */
static void
require_debug(bool used, const char *setting)
{
	if (used && !varve_debug)
		ereport(FATAL,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("varve: %s is for tests and breaks a server", setting),
				 errhint("Only a server that was started with varve.debug = on takes it.")));
}

void
varve_require_remote_settings(void)
{
	require_debug(varve_test_sabotage != SABOTAGE_OFF, "varve.test_sabotage");
	require_debug(varve_test_shadow, "varve.test_shadow");
	require(varve_tenant_id[0] != '\0', "varve.tenant_id");
	require(varve_timeline_id[0] != '\0', "varve.timeline_id");
	require(varve_auth_token_file[0] != '\0', "varve.auth_token_file");
	require(varve_life_id[0] != '\0', "varve.life_id");
	require(!XLogRecPtrIsInvalid(varve_start_lsn), "varve.start_lsn");

	/* shared memory would be lost while the files keep their holes (docs/sparse-cache.md D7) */
	if (restart_after_crash)
		ereport(FATAL,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("varve: restart_after_crash must be off when varve.pageserver_connstr is set")));
}
