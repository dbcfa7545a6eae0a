/*
 * pg_control and checkpoints: pg_format/src/control_file.rs, checkpoint.rs. The lengths of pg_twophase files are
 * those of xl_xact_prepare, see records.c.
 */
#include "postgres.h"
#include "access/xlog.h"
#include "catalog/pg_control.h"
#include "../assertions.h"

FIELD(CheckPoint, redo, 0, 8);
FIELD(CheckPoint, ThisTimeLineID, 8, 4);
FIELD(CheckPoint, PrevTimeLineID, 12, 4);
FIELD(CheckPoint, fullPageWrites, 16, 1);
FIELD(CheckPoint, nextXid, 24, 8);
FIELD(CheckPoint, nextOid, 32, 4);
FIELD(CheckPoint, nextMulti, 36, 4);
FIELD(CheckPoint, nextMultiOffset, 40, 4);
FIELD(CheckPoint, oldestXid, 44, 4);
FIELD(CheckPoint, oldestXidDB, 48, 4);
FIELD(CheckPoint, oldestMulti, 52, 4);
FIELD(CheckPoint, oldestMultiDB, 56, 4);
FIELD(CheckPoint, time, 64, 8);
FIELD(CheckPoint, oldestCommitTsXid, 72, 4);
FIELD(CheckPoint, newestCommitTsXid, 76, 4);
FIELD(CheckPoint, oldestActiveXid, 80, 4);
NUMBER(sizeof(CheckPoint), 88);

FIELD(ControlFileData, system_identifier, 0, 8);
FIELD(ControlFileData, pg_control_version, 8, 4);
FIELD(ControlFileData, catalog_version_no, 12, 4);
FIELD(ControlFileData, state, 16, 4);
FIELD(ControlFileData, time, 24, 8);
FIELD(ControlFileData, checkPoint, 32, 8);
FIELD(ControlFileData, checkPointCopy, 40, 128 - 40);
FIELD(ControlFileData, unloggedLSN, 128, 8);
FIELD(ControlFileData, minRecoveryPoint, 136, 8);
FIELD(ControlFileData, minRecoveryPointTLI, 144, 4);
FIELD(ControlFileData, backupStartPoint, 152, 8);
FIELD(ControlFileData, backupEndPoint, 160, 8);
FIELD(ControlFileData, backupEndRequired, 168, 1);
FIELD(ControlFileData, wal_level, 172, 4);
FIELD(ControlFileData, wal_log_hints, 176, 1);
FIELD(ControlFileData, MaxConnections, 180, 4);
FIELD(ControlFileData, max_worker_processes, 184, 4);
FIELD(ControlFileData, max_wal_senders, 188, 4);
FIELD(ControlFileData, max_prepared_xacts, 192, 4);
FIELD(ControlFileData, max_locks_per_xact, 196, 4);
FIELD(ControlFileData, track_commit_timestamp, 200, 1);
FIELD(ControlFileData, maxAlign, 204, 4);
FIELD(ControlFileData, floatFormat, 208, 8);
FIELD(ControlFileData, blcksz, 216, 4);
FIELD(ControlFileData, relseg_size, 220, 4);
FIELD(ControlFileData, xlog_blcksz, 224, 4);
FIELD(ControlFileData, xlog_seg_size, 228, 4);
FIELD(ControlFileData, nameDataLen, 232, 4);
FIELD(ControlFileData, indexMaxKeys, 236, 4);
FIELD(ControlFileData, toast_max_chunk_size, 240, 4);
FIELD(ControlFileData, loblksize, 244, 4);
FIELD(ControlFileData, float8ByVal, 248, 1);
FIELD(ControlFileData, data_checksum_version, 252, 4);
FIELD(ControlFileData, mock_authentication_nonce, 256, 32);
FIELD(ControlFileData, crc, 288, 4);
NUMBER(sizeof(ControlFileData), 296);

/* Parameters::wal_level */
NUMBER(WAL_LEVEL_MINIMAL, 0);
NUMBER(WAL_LEVEL_REPLICA, 1);
NUMBER(WAL_LEVEL_LOGICAL, 2);
