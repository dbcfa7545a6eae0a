/*
 * fsm_images.c: free space maps survive a restart of the compute.
 *
 * No change of a free space map is in WAL, so after a restart the pageserver's
 * would know of no free space, and tables would grow at every restart.  An
 * image of each page that was written since its last image is logged
 *   - at each online checkpoint, from the local files: what the checkpoint
 *     before it has written;
 *   - before a managed stop, also from dirty buffers.
 * Never during the shutdown checkpoint, when no WAL may be inserted: the
 * evictor has ended before it begins.
 *
 * It is always a copy that is logged (the real page would become ordered by
 * WAL), and no lock on the relation is held.  A map may be cut off or dropped
 * before its image reaches WAL; the pageserver ignores an image of a map whose
 * relation is gone, and PostgreSQL does not trust a map anyway (docs/sparse-cache.md A7).
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"

#include "buffers.h"
#include "chunk_table.h"
#include "counters.h"
#include "fsm_images.h"
#include "hole_punch.h"

/* pd_lower of a map says nothing of its content: it is not a standard page */
static XLogRecPtr
log_image(RelationTag relation, BlockNumber block, char *copy)
{
	BlockTag	tag = {relation, FSM_FORKNUM, block};

	count(&varve_counters->fsm_images, 1);
	return log_page_image(&tag, copy, false);
}

/* copies a block that has no image yet and takes its mark away; false: there is none from `block` on */
static bool
take_written_block(uint32 index, BlockNumber *block, ChunkKey *key, char *copy)
{
	LWLock	   *lock;
	ChunkEntry *entry = chunk_table_lock_entry(index, &lock);
	bool		taken = false;

	if (entry == NULL)
		return false;
	*key = entry->key;
	if (key->fork == FSM_FORKNUM)
	{
		BlockNumber end = chunk_first_block(key) + varve_chunk_blocks;
		int			segment;

		*block = Max(*block, chunk_first_block(key));
		while (*block < end && !block_bit(entry->chunk.written, *block))
			(*block)++;
		segment = *block < end ? open_segment(key, *block) : -1;
		if (segment >= 0)
		{
			taken = pread(segment, copy, BLCKSZ, (off_t) (*block % RELSEG_SIZE) * BLCKSZ) == BLCKSZ;
			close(segment);
		}
		if (taken)
		{
			uint64		imaged[CHUNK_WORDS] = {0};

			set_block_bit(imaged, *block);
			chunk_clear_written(entry, imaged);
		}
	}
	LWLockRelease(lock);
	return taken;
}

static void
note_image(const ChunkKey *key, XLogRecPtr image_end)
{
	LWLock	   *lock = chunk_table_lock(key, LW_EXCLUSIVE);
	ChunkEntry *entry = chunk_table_find(key);

	if (entry != NULL)
		entry->chunk.not_modified_since = Max(entry->chunk.not_modified_since, image_end);
	LWLockRelease(lock);
}

static void
log_written_blocks(uint32 index)
{
	PGAlignedBlock copy;
	BlockNumber block = 0;
	ChunkKey	key;

	while (take_written_block(index, &block, &key, copy.data))
	{
		CHECK_FOR_INTERRUPTS();
		note_image(&key, log_image(key.relation, block, copy.data));
		block++;
	}
}

static void
log_all_written(void)
{
	uint32		used = chunk_table_entries_used();

	for (uint32 index = 0; index < used; index++)
	{
		const ChunkEntry *entry = chunk_table_peek(index);

		if (entry != NULL && entry->key.fork == FSM_FORKNUM && any_block_bit(entry->chunk.written))
			log_written_blocks(index);
	}
}

void
fsm_images_after_checkpoint(void)
{
	static XLogRecPtr last_redo = InvalidXLogRecPtr;
	XLogRecPtr	redo = GetRedoRecPtr();

	if (redo == last_redo)
		return;
	if (!XLogRecPtrIsInvalid(last_redo))
		log_all_written();
	last_redo = redo;
}

/* a page that is dirty in a buffer is newer than the file */
static void
log_dirty_buffer(int buffer_id)
{
	PGAlignedBlock copy;
	BlockTag	found;
	Buffer		buffer;

	if (!buffer_is_dirty(buffer_id, FSM_FORKNUM, &found) || !buffer_pin(&found, buffer_id, &buffer))
		return;
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	memcpy(copy.data, BufferGetPage(buffer), BLCKSZ);
	UnlockReleaseBuffer(buffer);
	(void) log_image(found.relation, found.block, copy.data);
}

void
fsm_images_before_stop(void)
{
	log_all_written();
	for (int buffer_id = 0; buffer_id < NBuffers; buffer_id++)
		log_dirty_buffer(buffer_id);
}
