/*
 * Logical replication: wal_decoder/src/rmgr/logicalmsg.rs, replorigin.rs, rewrite.rs, and what pg_format/src/slot.rs reads
 * of a slot behind the head of its file, which is in slot.c alone.
 */
#include "postgres.h"
#include "access/heapam_xlog.h"
#include "access/rewriteheap.h"
#include "replication/message.h"
#include "replication/origin.h"
#include "replication/slot.h"
#include "../assertions.h"

FIELD(xl_logical_message, dbId, 0, 4);
FIELD(xl_logical_message, transactional, 4, 1);
FIELD(xl_logical_message, prefix_size, 8, 8);
FIELD(xl_logical_message, message_size, 16, 8);
NUMBER(SizeOfLogicalMessage, 24);

FIELD(xl_replorigin_set, remote_lsn, 0, 8);
FIELD(xl_replorigin_set, node_id, 8, 2);
FIELD(xl_replorigin_set, force, 10, 1);
FIELD(xl_replorigin_drop, node_id, 0, 2);
NUMBER(DoNotReplicateId, 65535);

FIELD(xl_heap_rewrite_mapping, mapped_xid, 0, 4);
FIELD(xl_heap_rewrite_mapping, mapped_db, 4, 4);
FIELD(xl_heap_rewrite_mapping, mapped_rel, 8, 4);
FIELD(xl_heap_rewrite_mapping, offset, 16, 8);
FIELD(xl_heap_rewrite_mapping, num_mappings, 24, 4);
FIELD(xl_heap_rewrite_mapping, start_lsn, 32, 8);
NUMBER(sizeof(xl_heap_rewrite_mapping), 40);
NUMBER(sizeof(LogicalRewriteMappingData), 36);

FIELD(ReplicationSlotPersistentData, name, 0, 64);
FIELD(ReplicationSlotPersistentData, database, 64, 4);
FIELD(ReplicationSlotPersistentData, restart_lsn, 80, 8);
