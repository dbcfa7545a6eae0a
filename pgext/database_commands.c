/*
 * database_commands.c: CREATE, DROP and ALTER DATABASE ... SET TABLESPACE.
 *
 * They make and remove directories without a word to the storage manager, so
 * what the chunk table knows of them has to be purged here, and again before a
 * database of a number is made (docs/sparse-cache.md A4).  STRATEGY = FILE_COPY
 * would copy holes; it becomes WAL_LOG, which reads through the cache.
 *
 * SET TABLESPACE is one record in WAL, whatever the database holds, and the
 * pageserver takes it in as one change, in memory: with too little of that it is
 * lost to all its tenants, again and again.  So a large database is refused;
 * CREATE DATABASE copies one of any size to another tablespace.
 *
 * The object access hooks say which database it is, and are called while it
 * is locked against everybody.  A name looked up before the statement might be
 * that of another database by then, and after ALTER DATABASE, which commits
 * inside the statement, sessions may already be at work in the new place.
 */
#include "postgres.h"

#include <sys/stat.h>

#include "access/htup_details.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "common/relpath.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "storage/fd.h"
#include "tcop/utility.h"
#include "utils/syscache.h"

#include "database_commands.h"
#include "gucs.h"
#include "sparse_cache.h"

static ProcessUtility_hook_type next_utility_hook = NULL;
static object_access_hook_type next_access_hook = NULL;

/* of the database command that runs */
static bool moving = false;
static Oid	created = InvalidOid;
static Oid	dropped = InvalidOid;

static void
use_wal_log_strategy(CreatedbStmt *statement)
{
	ListCell   *cell;

	foreach(cell, statement->options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		/* DEFAULT has no value */
		if (strcmp(option->defname, "strategy") != 0 || option->arg == NULL ||
			pg_strcasecmp(defGetString(option), "file_copy") != 0)
			continue;
		ereport(NOTICE,
				(errmsg("STRATEGY = FILE_COPY acts as WAL_LOG: relation files are a cache here")));
		option->arg = (Node *) makeString("wal_log");
	}
}

/* SET TABLESPACE comes as an option of ALTER DATABASE */
static bool
moves_database(const Node *statement)
{
	const AlterDatabaseStmt *alter = (const AlterDatabaseStmt *) statement;
	ListCell   *cell;

	if (!IsA(statement, AlterDatabaseStmt))
		return false;
	foreach(cell, alter->options)
		if (strcmp(lfirst_node(DefElem, cell)->defname, "tablespace") == 0)
			return true;
	return false;
}

/* what moves; a file that goes meanwhile counts for nothing */
static int64
bytes_in(const char *directory)
{
	DIR		   *open = AllocateDir(directory);
	struct dirent *entry;
	int64		bytes = 0;

	if (open == NULL)
		return 0;
	while ((entry = ReadDirExtended(open, directory, LOG)) != NULL)
	{
		char		path[MAXPGPATH * 2];
		struct stat status;

		snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
		if (stat(path, &status) == 0 && S_ISREG(status.st_mode))
			bytes += status.st_size;
	}
	FreeDir(open);
	return bytes;
}

/* invalid if there is none of that name */
static Oid
tablespace_of(Oid db)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(db));
	Oid			tablespace = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		tablespace = ((Form_pg_database) GETSTRUCT(tuple))->dattablespace;
		ReleaseSysCache(tuple);
	}
	return tablespace;
}

/* stock says what is wrong with a name, and asks whose database it is */
static void
refuse_large(const char *name)
{
	Oid			db = get_database_oid(name, true);
	Oid			tablespace = OidIsValid(db) ? tablespace_of(db) : InvalidOid;
	int64		megabytes;

	if (!OidIsValid(tablespace))
		return;
	megabytes = bytes_in(GetDatabasePath(db, tablespace)) / (1024 * 1024);
	if (megabytes > varve_max_moved_database)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("database \"%s\" is too large to be moved: %lld MB, of at most %d",
						name, (long long) megabytes, varve_max_moved_database),
				 errdetail("The pageserver takes such a move in as one change, in memory."),
				 errhint("CREATE DATABASE ... TEMPLATE \"%s\" TABLESPACE ... copies a database of any size; varve.max_moved_database is the limit.",
						 name)));
}

/*
 * The files are copied and their copying is in WAL, the move is not yet
 * committed.  The copies hold zeros where the source had holes, and what the
 * pageserver has under the new place it learns from WAL up to now.  Should the
 * move fail after this, the old place is read anew, at the same floor.
 */
static void
before_move_commits(Oid db)
{
	sparse_cache_note_database_moved(db);
}

static void
purge_if_valid(Oid db)
{
	if (OidIsValid(db))
		sparse_cache_note_database_gone(db);
}

static void
run_database_command(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
					 ProcessUtilityContext context, ParamListInfo params,
					 QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	ProcessUtility_hook_type next = next_utility_hook ? next_utility_hook : standard_ProcessUtility;
	bool		moves = moves_database(pstmt->utilityStmt);

	/* it may fail, and nothing moves then */
	if (moves)
		refuse_large(((const AlterDatabaseStmt *) pstmt->utilityStmt)->dbname);
	moving = moves;
	created = dropped = InvalidOid;
	PG_TRY();
	{
		next(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	}
	PG_CATCH();
	{
		/* stock has removed the files of the database that came to nothing */
		moving = false;
		purge_if_valid(created);
		PG_RE_THROW();
	}
	PG_END_TRY();
	moving = false;
	purge_if_valid(dropped);
}

static void
watch_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
			  ProcessUtilityContext context, ParamListInfo params,
			  QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	ProcessUtility_hook_type next = next_utility_hook ? next_utility_hook : standard_ProcessUtility;

	switch (nodeTag(pstmt->utilityStmt))
	{
		case T_CreatedbStmt:
			/* the tree may belong to a cached plan */
			if (readOnlyTree)
				pstmt = copyObject(pstmt);
			readOnlyTree = false;
			use_wal_log_strategy((CreatedbStmt *) pstmt->utilityStmt);
			/* FALLTHROUGH */
		case T_DropdbStmt:
		case T_AlterDatabaseStmt:
			next = run_database_command;
			break;
		default:
			break;
	}
	next(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
}

static void
watch_databases(ObjectAccessType access, Oid classId, Oid objectId, int subId, void *arg)
{
	if (next_access_hook)
		next_access_hook(access, classId, objectId, subId, arg);
	if (classId != DatabaseRelationId)
		return;
	switch (access)
	{
		case OAT_POST_CREATE:
			sparse_cache_note_database_gone(objectId);
			created = objectId;
			break;
		case OAT_DROP:
			/* it may still fail, and then the files stay */
			dropped = objectId;
			break;
		case OAT_POST_ALTER:
			if (moving)
				before_move_commits(objectId);
			break;
		default:
			break;
	}
}

void
database_commands_install(void)
{
	next_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = watch_utility;
	next_access_hook = object_access_hook;
	object_access_hook = watch_databases;
}
