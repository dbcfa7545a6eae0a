/*
 * Main data of records that change more than pages: wal_decoder/src/rmgr. Heap records, which the decoder reads for
 * the visibility map, are in heap.c.
 *
 * Not to be checked here: TWOPHASE_MAGIC and the order of the arrays in a PREPARE record (twophase.c), and
 * the RelMapFile inside xl_relmap_update (relmapper.c), which we keep as opaque bytes.
 */
#include "postgres.h"
#include "access/clog.h"
#include "access/commit_ts.h"
#include "access/multixact.h"
#include "access/xact.h"
#include "access/xlog_internal.h"
#include "catalog/storage_xlog.h"
#include "commands/dbcommands_xlog.h"
#include "commands/sequence.h"
#include "commands/tablespace.h"
#include "storage/sinval.h"
#include "storage/standbydefs.h"
#include "utils/relmapper.h"
#include "../assertions.h"

/* xlog.rs */
NUMBER(sizeof(Oid), 4);				/* XLOG_NEXTOID */
NUMBER(sizeof(bool), 1);			/* XLOG_FPW_CHANGE, and every other flag */
FIELD(xl_parameter_change, MaxConnections, 0, 4);
FIELD(xl_parameter_change, max_worker_processes, 4, 4);
FIELD(xl_parameter_change, max_wal_senders, 8, 4);
FIELD(xl_parameter_change, max_prepared_xacts, 12, 4);
FIELD(xl_parameter_change, max_locks_per_xact, 16, 4);
FIELD(xl_parameter_change, wal_level, 20, 4);
FIELD(xl_parameter_change, wal_log_hints, 24, 1);
FIELD(xl_parameter_change, track_commit_timestamp, 25, 1);
FIELD(xl_end_of_recovery, end_time, 0, 8);
FIELD(xl_end_of_recovery, ThisTimeLineID, 8, 4);
FIELD(xl_end_of_recovery, PrevTimeLineID, 12, 4);
FIELD(xl_overwrite_contrecord, overwritten_lsn, 0, 8);
/* stream.rs finds the LSN behind a short header of main data. */
NUMBER(sizeof(xl_overwrite_contrecord) < 256, true);

/* xact.rs: the parts of a commit or abort follow each other without padding. */
FIELD(xl_xact_commit, xact_time, 0, 8);
NUMBER(MinSizeOfXactCommit, 8);
FIELD(xl_xact_abort, xact_time, 0, 8);
NUMBER(MinSizeOfXactAbort, 8);
FIELD(xl_xact_xinfo, xinfo, 0, 4);
NUMBER(sizeof(xl_xact_xinfo), 4);
FIELD(xl_xact_dbinfo, dbId, 0, 4);
FIELD(xl_xact_dbinfo, tsId, 4, 4);
NUMBER(sizeof(xl_xact_dbinfo), 8);
FIELD(xl_xact_subxacts, nsubxacts, 0, 4);
ARRAY(xl_xact_subxacts, subxacts, 4, 4);
FIELD(xl_xact_stats_items, nitems, 0, 4);
ARRAY(xl_xact_stats_items, items, 4, 12);
FIELD(xl_xact_invals, nmsgs, 0, 4);
ARRAY(xl_xact_invals, msgs, 4, 16);
FIELD(xl_xact_twophase, xid, 0, 4);
NUMBER(sizeof(xl_xact_twophase), 4);
FIELD(xl_xact_origin, origin_lsn, 0, 8);
FIELD(xl_xact_origin, origin_timestamp, 8, 8);
NUMBER(sizeof(xl_xact_origin), 16);

FIELD(xl_xact_prepare, magic, 0, 4);
FIELD(xl_xact_prepare, total_len, 4, 4);
FIELD(xl_xact_prepare, xid, 8, 4);
FIELD(xl_xact_prepare, database, 12, 4);
FIELD(xl_xact_prepare, prepared_at, 16, 8);
FIELD(xl_xact_prepare, owner, 24, 4);
FIELD(xl_xact_prepare, nsubxacts, 28, 4);
FIELD(xl_xact_prepare, ncommitrels, 32, 4);
FIELD(xl_xact_prepare, nabortrels, 36, 4);
FIELD(xl_xact_prepare, ncommitstats, 40, 4);
FIELD(xl_xact_prepare, nabortstats, 44, 4);
FIELD(xl_xact_prepare, ninvalmsgs, 48, 4);
FIELD(xl_xact_prepare, initfileinval, 52, 1);
FIELD(xl_xact_prepare, gidlen, 54, 2);
FIELD(xl_xact_prepare, origin_lsn, 56, 8);
NUMBER(sizeof(xl_xact_prepare), 72);

/* clog.rs and commit_ts.rs; records that make pages hold the page's number alone. */
NUMBER(sizeof(int), 4);

/* multixact.rs */
FIELD(xl_multixact_create, mid, 0, 4);
FIELD(xl_multixact_create, moff, 4, 4);
FIELD(xl_multixact_create, nmembers, 8, 4);
ARRAY(xl_multixact_create, members, 12, 8);
FIELD(MultiXactMember, xid, 0, 4);
FIELD(MultiXactMember, status, 4, 4);
FIELD(xl_multixact_truncate, oldestMultiDB, 0, 4);
FIELD(xl_multixact_truncate, startTruncOff, 4, 4);
FIELD(xl_multixact_truncate, endTruncOff, 8, 4);
FIELD(xl_multixact_truncate, startTruncMemb, 12, 4);
FIELD(xl_multixact_truncate, endTruncMemb, 16, 4);
NUMBER(MaxMultiXactStatus, 5);

/* smgr.rs */
FIELD(xl_smgr_create, forkNum, 12, 4);
FIELD(xl_smgr_truncate, blkno, 0, 4);
FIELD(xl_smgr_truncate, flags, 16, 4);

/* dbase.rs and tblspc.rs */
FIELD(xl_dbase_create_file_copy_rec, db_id, 0, 4);
FIELD(xl_dbase_create_file_copy_rec, tablespace_id, 4, 4);
FIELD(xl_dbase_create_file_copy_rec, src_db_id, 8, 4);
FIELD(xl_dbase_create_file_copy_rec, src_tablespace_id, 12, 4);
FIELD(xl_dbase_create_wal_log_rec, db_id, 0, 4);
FIELD(xl_dbase_create_wal_log_rec, tablespace_id, 4, 4);
FIELD(xl_dbase_drop_rec, db_id, 0, 4);
FIELD(xl_dbase_drop_rec, ntablespaces, 4, 4);
ARRAY(xl_dbase_drop_rec, tablespace_ids, 8, 4);
FIELD(xl_tblspc_create_rec, ts_id, 0, 4);
ARRAY(xl_tblspc_create_rec, ts_path, 4, 1);
FIELD(xl_tblspc_drop_rec, ts_id, 0, 4);

/* relmap.rs */
FIELD(xl_relmap_update, dbid, 0, 4);
FIELD(xl_relmap_update, tsid, 4, 4);
FIELD(xl_relmap_update, nbytes, 8, 4);
ARRAY(xl_relmap_update, data, 12, 1);

/* standby.rs */
FIELD(xl_running_xacts, xcnt, 0, 4);
FIELD(xl_running_xacts, subxcnt, 4, 4);
FIELD(xl_running_xacts, subxid_overflow, 8, 1);
FIELD(xl_running_xacts, nextXid, 12, 4);
FIELD(xl_running_xacts, oldestRunningXid, 16, 4);
FIELD(xl_running_xacts, latestCompletedXid, 20, 4);
ARRAY(xl_running_xacts, xids, 24, 4);

/* seq.rs, here and in page_redo; the sequence's tuple follows. */
NUMBER(sizeof(xl_seq_rec), 12);
