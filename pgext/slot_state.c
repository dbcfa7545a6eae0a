/*
 * slot_state.c: files of replication slots.
 *
 * The head of such a file is known to slot.c alone: magic number, checksum,
 * version, length, of four bytes each.  What follows is in slot.h.
 */
#include "postgres.h"

#include <unistd.h>

#include "replication/slot.h"
#include "storage/fd.h"

#include "slot_state.h"

#define HEAD_SIZE 16
#define MAGIC 0x1051CA1

bool
slot_state_read(const char *path, SlotState *slot)
{
	ReplicationSlotPersistentData data;
	char		bytes[HEAD_SIZE + sizeof(data)];
	uint32		magic;
	ssize_t		length;
	int			file = open(path, O_RDONLY);

	if (file < 0)
		return false;
	length = read(file, bytes, sizeof(bytes));
	close(file);
	if (length != sizeof(bytes))
		return false;
	memcpy(&magic, bytes, sizeof(magic));
	memcpy(&data, bytes + HEAD_SIZE, sizeof(data));
	if (magic != MAGIC)
		return false;
	slot->is_kept = OidIsValid(data.database) && data.persistency == RS_PERSISTENT;
	slot->restart_lsn = data.restart_lsn;
	return true;
}

/* pg_replslot/NAME/state, where no name has a dot: pg_replslot/NAME.tmp is a slot that is being made */
bool
slot_state_is_path(const char *path)
{
	const char *name = path + strlen(SLOT_DIRECTORY);

	return strcmp(name + strcspn(name, "/."), "/state") == 0;
}

/* pg_replslot/NAME to pg_replslot/NAME.tmp */
bool
slot_state_is_moved_away(const char *from, const char *to)
{
	size_t		length = strlen(from);

	return strncmp(from, to, length) == 0 && strcmp(to + length, ".tmp") == 0;
}

XLogRecPtr
slot_state_oldest_restart(void)
{
	XLogRecPtr	oldest = PG_UINT64_MAX;
	struct dirent *entry;
	DIR		   *directory = AllocateDir(SLOT_DIRECTORY);

	while ((entry = ReadDirExtended(directory, SLOT_DIRECTORY, LOG)) != NULL)
	{
		char		path[MAXPGPATH];
		SlotState	slot;

		snprintf(path, sizeof(path), SLOT_DIRECTORY "%s/state", entry->d_name);
		if (slot_state_is_path(path) && slot_state_read(path, &slot) && slot.is_kept)
			oldest = Min(oldest, slot.restart_lsn);
	}
	FreeDir(directory);
	return oldest;
}
