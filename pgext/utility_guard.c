/*
 * utility_guard.c: the commit guard around COMMIT PREPARED and ROLLBACK PREPARED, the read lease before COPY TO.
 *
 * The first two write their record and wait for the quorum inside the statement,
 * before any transaction callback runs; COPY of a table reads it without an
 * executor.
 */
#include "postgres.h"

#include "nodes/parsenodes.h"
#include "tcop/utility.h"

#include "commit_guard.h"
#include "read_lease.h"

static ProcessUtility_hook_type next_hook = NULL;

static bool
ends_prepared_transaction(const Node *statement)
{
	const TransactionStmt *transaction = (const TransactionStmt *) statement;

	return IsA(statement, TransactionStmt) &&
		(transaction->kind == TRANS_STMT_COMMIT_PREPARED ||
		 transaction->kind == TRANS_STMT_ROLLBACK_PREPARED);
}

static void
guard_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
			  ProcessUtilityContext context, ParamListInfo params,
			  QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	ProcessUtility_hook_type next = next_hook ? next_hook : standard_ProcessUtility;

	if (IsA(pstmt->utilityStmt, CopyStmt) && !((const CopyStmt *) pstmt->utilityStmt)->is_from)
		read_lease_wait();
	if (!ends_prepared_transaction(pstmt->utilityStmt))
	{
		next(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		return;
	}

	commit_guard_begin();
	PG_TRY();
	{
		next(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	}
	PG_FINALLY();
	{
		commit_guard_end();
	}
	PG_END_TRY();
}

void
utility_guard_install(void)
{
	next_hook = ProcessUtility_hook;
	ProcessUtility_hook = guard_utility;
}
