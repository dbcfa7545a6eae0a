/*
 * sync_settings.c: stock settings that could weaken a commit, bent straight.
 *
 * synchronous_commit = local or remote_write acts as on: the local disk of a
 * compute is not durable.  `off` stays what the user asked for, but for the
 * workers of subscriptions, for which it is the default: they tell the
 * publisher that what is on the local disk need not be sent again.
 *
 * application_name decides which walsender is the synchronous standby.  Only
 * the walproposer may carry that name: a walsender of the bootstrap superuser
 * on the Unix socket.  A logical subscriber of a user may not.
 *
 * Stock has no hook for either, so the check hooks are put into the table of
 * settings that get_guc_variables() returns.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"

/*
 * The server's headers were configured with GSSAPI, whose own headers need not
 * be installed; without it Port has a void pointer in the same place.
 */
#undef ENABLE_GSS
#include "libpq/libpq-be.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "replication/walsender.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"

#include "gucs.h"
#include "server.h"
#include "sync_settings.h"

static GucEnumCheckHook stock_synchronous_commit_check = NULL;
static GucStringCheckHook stock_application_name_check = NULL;

static bool
is_weak(int level)
{
	return level == SYNCHRONOUS_COMMIT_LOCAL_FLUSH || level == SYNCHRONOUS_COMMIT_REMOTE_WRITE ||
		(level == SYNCHRONOUS_COMMIT_OFF && IsLogicalWorker());
}

static bool
check_synchronous_commit(int *newval, void **extra, GucSource source)
{
	if (is_weak(*newval))
		*newval = SYNCHRONOUS_COMMIT_ON;
	return stock_synchronous_commit_check == NULL ||
		stock_synchronous_commit_check(newval, extra, source);
}

static bool
is_walproposer_connection(void)
{
	return am_walsender && MyProcPort != NULL &&
		MyProcPort->raddr.addr.ss_family == AF_UNIX &&
		GetAuthenticatedUserId() == BOOTSTRAP_SUPERUSERID;
}

static bool
check_application_name(char **newval, void **extra, GucSource source)
{
	if (*newval != NULL && pg_strcasecmp(*newval, varve_sync_standby_name) == 0 &&
		!is_walproposer_connection())
	{
		char	   *harmless = setting_copy("");

		if (harmless == NULL)
			return false;
		ereport(WARNING,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("application_name \"%s\" is reserved for the walproposer and was left empty",
						*newval)));
		setting_free(*newval);
		*newval = harmless;
	}
	return stock_application_name_check == NULL ||
		stock_application_name_check(newval, extra, source);
}

static struct config_generic *
find_setting(const char *name, enum config_type type)
{
	int			count;
	struct config_generic **settings = all_settings(&count);

	for (int i = 0; i < count; i++)
		if (strcmp(settings[i]->name, name) == 0 && settings[i]->vartype == type)
			return settings[i];
	ereport(FATAL,
			(errmsg("varve: setting \"%s\" not found in this server", name)));
}

void
sync_settings_install(void)
{
	struct config_enum *commit =
		(struct config_enum *) find_setting("synchronous_commit", PGC_ENUM);
	struct config_string *name =
		(struct config_string *) find_setting("application_name", PGC_STRING);

	stock_synchronous_commit_check = commit->check_hook;
	commit->check_hook = check_synchronous_commit;
	stock_application_name_check = name->check_hook;
	name->check_hook = check_application_name;

	/* the configuration file and the command line were read before us */
	if (is_weak(synchronous_commit))
		SetConfigOption("synchronous_commit", "on", PGC_POSTMASTER, commit->gen.source);
}
