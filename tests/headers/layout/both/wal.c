/*
 * WAL pages, record headers, block references: pg_format/src/wal.rs, start_wal.rs, wal_decoder/src/record.rs.
 *
 * Not to be checked here: the bytes of images that pglz compressed (pg_lzcompress.c).
 */
#include "postgres.h"
#include "access/rmgr.h"
#include "access/xlog_internal.h"
#include "access/xlogrecord.h"
#include "../assertions.h"

FIELD(XLogPageHeaderData, xlp_magic, 0, 2);
FIELD(XLogPageHeaderData, xlp_info, 2, 2);
FIELD(XLogPageHeaderData, xlp_tli, 4, 4);
FIELD(XLogPageHeaderData, xlp_pageaddr, 8, 8);
FIELD(XLogPageHeaderData, xlp_rem_len, 16, 4);
NUMBER(sizeof(XLogPageHeaderData), 24);
NUMBER(SizeOfXLogShortPHD, 24);

FIELD(XLogLongPageHeaderData, std, 0, 24);
FIELD(XLogLongPageHeaderData, xlp_sysid, 24, 8);
FIELD(XLogLongPageHeaderData, xlp_seg_size, 32, 4);
FIELD(XLogLongPageHeaderData, xlp_xlog_blcksz, 36, 4);
NUMBER(sizeof(XLogLongPageHeaderData), 40);
NUMBER(SizeOfXLogLongPHD, 40);

FIELD(XLogRecord, xl_tot_len, 0, 4);
FIELD(XLogRecord, xl_xid, 4, 4);
FIELD(XLogRecord, xl_prev, 8, 8);
FIELD(XLogRecord, xl_info, 16, 1);
FIELD(XLogRecord, xl_rmid, 17, 1);
FIELD(XLogRecord, xl_crc, 20, 4);
NUMBER(SizeOfXLogRecord, 24);

/* Read byte by byte, one field behind the other. */
FIELD(XLogRecordBlockHeader, id, 0, 1);
FIELD(XLogRecordBlockHeader, fork_flags, 1, 1);
FIELD(XLogRecordBlockHeader, data_length, 2, 2);
NUMBER(SizeOfXLogRecordBlockHeader, 4);
FIELD(XLogRecordBlockImageHeader, length, 0, 2);
FIELD(XLogRecordBlockImageHeader, hole_offset, 2, 2);
FIELD(XLogRecordBlockImageHeader, bimg_info, 4, 1);
NUMBER(SizeOfXLogRecordBlockImageHeader, 5);
FIELD(XLogRecordBlockCompressHeader, hole_length, 0, 2);
NUMBER(SizeOfXLogRecordBlockCompressHeader, 2);
NUMBER(sizeof(BlockNumber), 4);

FIELD(XLogRecordDataHeaderShort, id, 0, 1);
FIELD(XLogRecordDataHeaderShort, data_length, 1, 1);
NUMBER(SizeOfXLogRecordDataHeaderShort, 2);
FIELD(XLogRecordDataHeaderLong, id, 0, 1);
NUMBER(SizeOfXLogRecordDataHeaderLong, 5);
NUMBER(sizeof(RepOriginId), 2);
NUMBER(sizeof(TransactionId), 4);

/* rmgr.rs has a name for each, and takes all others below 128 for errors. */
NUMBER(RM_MAX_BUILTIN_ID, 21);
NUMBER(RM_MAX_CUSTOM_ID, 255);

/* Numbers that stand in our code without a name. */
NUMBER(XLR_RMGR_INFO_MASK, 0xf0);
NUMBER((uint8) ~XLR_INFO_MASK, 0xf0);
NUMBER(XLOG_BLCKSZ, BLCKSZ);
NUMBER(MAXIMUM_ALIGNOF, 8);
NUMBER(WalSegMinSize, 1 << 20);
NUMBER(WalSegMaxSize, 1 << 30);
