/*
 * varve.c: entry point of the extension; wires the parts together and nothing else.
 *
 * The library has to be in shared_preload_libraries: the postmaster patches the
 * storage manager's table once and every process inherits it by fork.
 */
#include "postgres.h"

#include "access/rmgr.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/guc.h"

#include "backpressure.h"
#include "backup_refusal.h"
#include "commit_guard.h"
#include "counters.h"
#include "database_commands.h"
#include "decode_gate.h"
#include "disk_space.h"
#include "evictor.h"
#include "gucs.h"
#include "hole_punch.h"
#include "init_forks.h"
#include "kept_cache.h"
#include "kept_files.h"
#include "life.h"
#include "local_relations.h"
#include "physical_streams.h"
#include "prefetch.h"
#include "read_lease.h"
#include "replica.h"
#include "smgr_table.h"
#include "sparse_cache.h"
#include "sync_settings.h"
#include "walproposer_reply.h"
#include "way_in.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

static shmem_request_hook_type previous_shmem_request_hook = NULL;
static shmem_startup_hook_type previous_shmem_startup_hook = NULL;

/* compute_ctl reads it out of the library's file, to say what is wrong before it starts a server */
static const char compiled_for[] __attribute__((used)) = "varve: compiled for PostgreSQL " PG_VERSION;

/*
 * The smgr table and md* signatures change within a major version: a library
 * built for another minor would read the stack wrongly and corrupt pages.
 */
static void
require_same_server(void)
{
	if (atoi(GetConfigOption("server_version_num", false, false)) != PG_VERSION_NUM)
		ereport(FATAL,
				(errmsg("varve was compiled for PostgreSQL %s, this server is %s",
						PG_VERSION, GetConfigOption("server_version", false, false)),
				 errhint("Rebuild it: varve-rebuild-extension where it came from the package postgresql-varve-source, "
						 "make extension where it came from the sources.")));
}

static void
require_preload(void)
{
	if (!process_shared_preload_libraries_in_progress)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("varve must be loaded via shared_preload_libraries")));
}

static void
require_wal_level(void)
{
	if (wal_level < WAL_LEVEL_REPLICA)
		ereport(FATAL,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("varve needs wal_level = replica or higher"),
				 errdetail("With wal_level = minimal some pages are never written to WAL.")));
}

/* what an extension logs in a form of its own, no pageserver can apply; all are registered by now */
static void
refuse_custom_resource_managers(void)
{
	for (int id = RM_MIN_CUSTOM_ID; id <= RM_MAX_CUSTOM_ID; id++)
		if (RmgrIdExists(id))
			ereport(FATAL,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("varve: resource manager \"%s\" (%d) of an extension is not supported",
							RmgrTable[id].rm_name, id),
					 errdetail("Pages whose changes it logs could not be rebuilt by the pageserver."),
					 errhint("Take the extension that registers it out of shared_preload_libraries.")));
}

static void
request_shared_memory(void)
{
	if (previous_shmem_request_hook)
		previous_shmem_request_hook();
	counters_request_shmem();
	local_relations_request_shmem();
	sparse_cache_request_shmem();
	disk_space_request_shmem();
	walproposer_reply_request_shmem();
	replica_request_shmem();
	kept_files_request_shmem();
	evictor_request_shmem();
}

static void
start_shared_memory(void)
{
	if (previous_shmem_startup_hook)
		previous_shmem_startup_hook();

	if (!IsUnderPostmaster)
	{
		refuse_custom_resource_managers();
		hole_punch_probe();
		life_begin();
	}
	counters_start_shmem();
	local_relations_start_shmem();
	sparse_cache_start_shmem();
	disk_space_start_shmem();
	walproposer_reply_start_shmem();
	replica_start_shmem();
	kept_files_start_shmem();
	evictor_start_shmem();
	if (!IsUnderPostmaster)
	{
		kept_cache_start();
		smgr_table_selftest();
	}
}

static void
install_remote_pages(void)
{
	varve_require_remote_settings();
	previous_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared_memory;
	previous_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_shared_memory;

	smgr_table_interpose();
	database_commands_install();
	backup_refusal_install();
	physical_streams_install();
	way_in_install();
	prefetch_install();
	backpressure_install();
	init_forks_install();
	read_lease_install();
	replica_install();
	kept_files_install();
	decode_gate_install();
	evictor_install();
}

void
_PG_init(void)
{
	require_preload();
	require_same_server();
	require_wal_level();

	varve_define_gucs();
	commit_guard_install();
	sync_settings_install();
	utility_guard_install();

	/* decided once: with no pageserver, relation files are ordinary local files */
	if (varve_pageserver_connstr[0] != '\0')
		install_remote_pages();
	else
		life_require_none();
}
