/*
 * way_in.c: what the next start connects with is not taken away.
 *
 * compute_ctl and the walproposer log in as the bootstrap superuser, to the
 * database postgres.  Stock lets a superuser drop, rename or close either, and
 * has the single-user mode to mend it; here no compute of the branch could
 * start again.  An import demands the same two.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "commands/defrem.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"

#include "way_in.h"

#define DATABASE "postgres"

static ProcessUtility_hook_type next_hook = NULL;

static bool
is_turned_off(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0 && !defGetBoolean(option))
			return true;
	}
	return false;
}

static bool
takes_database(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			return strcmp(castNode(DropdbStmt, statement)->dbname, DATABASE) == 0;
		case T_RenameStmt:
			return castNode(RenameStmt, statement)->renameType == OBJECT_DATABASE &&
				strcmp(castNode(RenameStmt, statement)->subname, DATABASE) == 0;
		case T_AlterDatabaseStmt:
			return strcmp(castNode(AlterDatabaseStmt, statement)->dbname, DATABASE) == 0 &&
				is_turned_off(castNode(AlterDatabaseStmt, statement)->options, "allow_connections");
		default:
			return false;
	}
}

static bool
takes_superuser(Node *statement)
{
	AlterRoleStmt *alter;

	switch (nodeTag(statement))
	{
		case T_RenameStmt:
			return castNode(RenameStmt, statement)->renameType == OBJECT_ROLE &&
				get_role_oid(castNode(RenameStmt, statement)->subname, true) == BOOTSTRAP_SUPERUSERID;
		case T_AlterRoleStmt:
			alter = castNode(AlterRoleStmt, statement);
			return get_rolespec_oid(alter->role, true) == BOOTSTRAP_SUPERUSERID &&
				(is_turned_off(alter->options, "canlogin") || is_turned_off(alter->options, "superuser"));
		default:
			return false;
	}
}

static void
keep_way_in(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
			ProcessUtilityContext context, ParamListInfo params,
			QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	ProcessUtility_hook_type next = next_hook ? next_hook : standard_ProcessUtility;

	if (takes_database(pstmt->utilityStmt) || takes_superuser(pstmt->utilityStmt))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("varve: the bootstrap superuser and the database \"%s\" have to stay as they are", DATABASE),
				 errdetail("Each start of a compute connects with them."),
				 errhint("They are reached over a socket of compute_ctl's own: to keep others out of the database, "
						 "REVOKE CONNECT ON DATABASE %s FROM PUBLIC.", DATABASE)));
	next(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
}

void
way_in_install(void)
{
	next_hook = ProcessUtility_hook;
	ProcessUtility_hook = keep_way_in;
}
