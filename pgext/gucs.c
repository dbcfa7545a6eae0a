/*
 * gucs.c: declares the settings and checks that they make sense together.
 *
 * compute_ctl sets nearly all of them on the command line of the server, so
 * that ALTER SYSTEM cannot change where pages come from.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/postmaster.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/pg_lsn.h"

#include "gucs.h"
#include "sparse_cache.h"

char	   *varve_pageserver_connstr = NULL;
char	   *varve_tenant_id = NULL;
char	   *varve_timeline_id = NULL;
char	   *varve_auth_token_file = NULL;
char	   *varve_life_id = NULL;
char	   *varve_sync_standby_name = NULL;
int			varve_cache_entries = 262144;
int			varve_readahead_blocks = VARVE_CHUNK_BLOCKS;
XLogRecPtr	varve_start_lsn = InvalidXLogRecPtr;

static char *start_lsn_text = NULL;

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
	parsed = malloc(sizeof(XLogRecPtr));
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

static void
define_text(const char *name, const char *description, char **variable, const char *boot,
			GucContext context, GucStringCheckHook check)
{
	DefineCustomStringVariable(name, description, NULL, variable, boot, context,
							   GUC_SUPERUSER_ONLY, check, NULL, NULL);
}

void
varve_define_gucs(void)
{
	define_text("varve.pageserver_connstr",
				"Connection string of the pageserver; empty: relation files are ordinary local files.",
				&varve_pageserver_connstr, "", PGC_SIGHUP, NULL);
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
	DefineCustomIntVariable("varve.cache_entries",
							"Number of 1 MiB chunks (and relations) the sparse cache can keep track of.",
							NULL, &varve_cache_entries, 262144, 256, 64 * 1024 * 1024,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("varve.readahead_blocks",
							"Longest run of blocks that one request fetches.",
							NULL, &varve_readahead_blocks, VARVE_CHUNK_BLOCKS, 1, VARVE_CHUNK_BLOCKS,
							PGC_USERSET, 0, NULL, NULL, NULL);
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

void
varve_require_remote_settings(void)
{
	require(varve_tenant_id[0] != '\0', "varve.tenant_id");
	require(varve_timeline_id[0] != '\0', "varve.timeline_id");
	require(varve_auth_token_file[0] != '\0', "varve.auth_token_file");
	require(varve_life_id[0] != '\0', "varve.life_id");
	require(!XLogRecPtrIsInvalid(varve_start_lsn), "varve.start_lsn");

	/* shared memory would be lost while the files keep their holes (sparse-cache.md D7) */
	if (restart_after_crash)
		ereport(FATAL,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("varve: restart_after_crash must be off when varve.pageserver_connstr is set")));
}
