/*
 * database_commands.c: CREATE, DROP and ALTER DATABASE ... SET TABLESPACE.
 *
 * They make and remove directories without a word to the storage manager, so
 * what the chunk table knows of them has to be purged here, and again before a
 * database of a number is made (sparse-cache.md A4).  STRATEGY = FILE_COPY
 * would copy holes; it becomes WAL_LOG, which reads through the cache.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/syscache.h"

#include "chunk_table.h"
#include "database_commands.h"
#include "sparse_cache.h"

static ProcessUtility_hook_type next_utility_hook = NULL;
static object_access_hook_type next_access_hook = NULL;

static void
use_wal_log_strategy(CreatedbStmt *statement)
{
	ListCell   *cell;

	foreach(cell, statement->options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, "strategy") != 0 ||
			pg_strcasecmp(defGetString(option), "file_copy") != 0)
			continue;
		ereport(NOTICE,
				(errmsg("STRATEGY = FILE_COPY acts as WAL_LOG: relation files are a cache here")));
		option->arg = (Node *) makeString("wal_log");
	}
}

static Oid
database_tablespace(Oid db)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(db));
	Oid			spc = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		spc = ((Form_pg_database) GETSTRUCT(tuple))->dattablespace;
		ReleaseSysCache(tuple);
	}
	return spc;
}

/* SET TABLESPACE comes as an option of ALTER DATABASE */
static const char *
moved_database(const Node *statement)
{
	const AlterDatabaseStmt *alter = (const AlterDatabaseStmt *) statement;
	ListCell   *cell;

	if (!IsA(statement, AlterDatabaseStmt))
		return NULL;
	foreach(cell, alter->options)
		if (strcmp(lfirst_node(DefElem, cell)->defname, "tablespace") == 0)
			return alter->dbname;
	return NULL;
}

/*
 * The copied files hold zeros where the source had holes, and what the
 * pageserver has under the new place it learns from WAL up to now.
 */
static void
after_move(Oid db, Oid from)
{
	chunk_table_purge_database(db, from);
	chunk_table_purge_database(db, database_tablespace(db));
	chunk_table_raise_database_floor(db, sparse_cache_insert_lsn());
}

static Oid
dropped_database(const Node *statement)
{
	if (!IsA(statement, DropdbStmt))
		return InvalidOid;
	return get_database_oid(((const DropdbStmt *) statement)->dbname, true);
}

static void
watch_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
			  ProcessUtilityContext context, ParamListInfo params,
			  QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	ProcessUtility_hook_type next = next_utility_hook ? next_utility_hook : standard_ProcessUtility;
	const char *moved_name = moved_database(pstmt->utilityStmt);
	Oid			moved = moved_name ? get_database_oid(moved_name, true) : InvalidOid;
	Oid			from = OidIsValid(moved) ? database_tablespace(moved) : InvalidOid;
	Oid			dropped = dropped_database(pstmt->utilityStmt);

	if (IsA(pstmt->utilityStmt, CreatedbStmt))
	{
		/* the tree may belong to a cached plan */
		if (readOnlyTree)
			pstmt = copyObject(pstmt);
		readOnlyTree = false;
		use_wal_log_strategy((CreatedbStmt *) pstmt->utilityStmt);
	}

	next(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);

	if (OidIsValid(moved))
		after_move(moved, from);
	if (OidIsValid(dropped))
		chunk_table_purge_database(dropped, InvalidOid);
}

static void
before_database_is_made(ObjectAccessType access, Oid classId, Oid objectId, int subId, void *arg)
{
	if (next_access_hook)
		next_access_hook(access, classId, objectId, subId, arg);
	if (access == OAT_POST_CREATE && classId == DatabaseRelationId)
		chunk_table_purge_database(objectId, InvalidOid);
}

void
database_commands_install(void)
{
	next_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = watch_utility;
	next_access_hook = object_access_hook;
	object_access_hook = before_database_is_made;
}
