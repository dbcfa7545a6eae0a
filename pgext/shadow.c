/*
 * shadow.c: a full copy beside the cache, against which tests compare every page that is read.
 *
 * One file per fork in <PGDATA>/varve.shadow, a record per block:
 *
 *   0         8
 *   present   page as it was last written or first fetched
 *
 * A page read from the local file must be the very bytes that were written. A
 * page that was fetched again must be the same but for what WAL does not say
 * (page_compare.h).
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "storage/bufpage.h"
#include "storage/fd.h"

#include "counters.h"
#include "page_compare.h"
#include "shadow.h"

#define DIRECTORY "varve.shadow"
#define RECORD_SIZE (8 + BLCKSZ)

typedef struct Record
{
	uint64		present;
	PGAlignedBlock page;
} Record;

static int
open_shadow(RelationTag relation, uint32 fork, int flags)
{
	char		path[MAXPGPATH];

	snprintf(path, sizeof(path), DIRECTORY "/%u.%u.%u.%u", relation.db, relation.spc, relation.rel, fork);
	return open(path, flags | O_CLOEXEC, pg_file_create_mode);
}

static void
write_record(int file, BlockNumber block, const char *page)
{
	Record		record = {.present = 1};
	struct iovec parts[] = {{&record.present, sizeof(record.present)}, {(char *) page, BLCKSZ}};

	if (pwritev(file, parts, lengthof(parts), (off_t) block * RECORD_SIZE) != RECORD_SIZE)
		elog(PANIC, "varve: could not write to the shadow: %m");
}

static bool
read_record(int file, BlockNumber block, Record *record)
{
	struct iovec parts[] = {{&record->present, sizeof(record->present)}, {record->page.data, BLCKSZ}};

	return preadv(file, parts, lengthof(parts), (off_t) block * RECORD_SIZE) == RECORD_SIZE &&
		record->present != 0;
}

void
shadow_write(const ChunkKey *key, BlockNumber block, const char *page)
{
	int			file = open_shadow(key->relation, key->fork, O_RDWR | O_CREAT);

	/* the first of all processes makes the directory */
	if (file < 0 && errno == ENOENT && (mkdir(DIRECTORY, pg_dir_create_mode) == 0 || errno == EEXIST))
		file = open_shadow(key->relation, key->fork, O_RDWR | O_CREAT);
	if (file < 0)
		elog(PANIC, "varve: could not open the shadow: %m");
	write_record(file, block, page);
	close(file);
}

static bool
read_shadow(const ChunkKey *key, BlockNumber block, Record *record)
{
	int			file = open_shadow(key->relation, key->fork, O_RDONLY);
	bool		found;

	if (file < 0)
		return false;
	found = read_record(file, block, record);
	close(file);
	return found;
}

static void
report(const ChunkKey *key, BlockNumber block, const char *how, const char *expected, const char *found)
{
	int			at = 0;

	while (at < BLCKSZ - 1 && expected[at] == found[at])
		at++;
	count(&varve_counters->shadow_mismatches, 1);
	ereport(LOG,
			(errmsg("varve: page differs from its shadow: %s block %u of relation %u/%u/%u fork %u at byte %d: %02x, not %02x",
					how, block, key->relation.spc, key->relation.db, key->relation.rel, key->fork,
					at, (unsigned char) found[at], (unsigned char) expected[at])));
}

void
shadow_check_local(const ChunkKey *key, BlockNumber block, const char *page)
{
	Record		record;

	if (!read_shadow(key, block, &record))
		return;
	count(&varve_counters->shadow_compared, 1);
	if (memcmp(record.page.data, page, BLCKSZ) != 0)
		report(key, block, "local", record.page.data, page);
}

static void
count_differences(const PageDifferences *differences)
{
	count(&varve_counters->shadow_all_visible_lost, differences->all_visible_lost);
	count(&varve_counters->shadow_live_cids_lost, differences->live_command_ids);
	count(&varve_counters->shadow_live_tokens_lost, differences->live_tokens);
	count(&varve_counters->shadow_live_cycle_ids_lost, differences->live_cycle_id);
}

void
shadow_check_fetched(const ChunkKey *key, BlockNumber block, const char *page, bool no_buffer)
{
	Record		record;
	PageDifferences differences;

	if (!read_shadow(key, block, &record))
	{
		shadow_write(key, block, page);
		return;
	}
	if (!no_buffer && PageGetLSN((Page) page) > PageGetLSN((Page) record.page.data))
	{
		shadow_write(key, block, page);
		return;
	}
	count(&varve_counters->shadow_refetched, 1);
	if (memcmp(record.page.data, page, BLCKSZ) == 0)
	{
		count(&varve_counters->shadow_refetched_equal, 1);
		return;
	}
	page_compare(key->fork, block, record.page.data, page, &differences);
	count_differences(&differences);
	if (differences.beyond_masks)
		report(key, block, "fetched", record.page.data, page);
	/* from now on this is what the file holds */
	shadow_write(key, block, page);
}

void
shadow_forget_block(const ChunkKey *key, BlockNumber block)
{
	int			file = open_shadow(key->relation, key->fork, O_RDWR);
	uint64		absent = 0;

	if (file < 0)
		return;
	if (pwrite(file, &absent, sizeof(absent), (off_t) block * RECORD_SIZE) != sizeof(absent))
		elog(PANIC, "varve: could not write to the shadow: %m");
	close(file);
}

void
shadow_cut(RelationTag relation, ForkNumber fork, BlockNumber blocks)
{
	int			file = open_shadow(relation, fork, O_RDWR);

	if (file < 0)
		return;
	if (lseek(file, 0, SEEK_END) > (off_t) blocks * RECORD_SIZE &&
		ftruncate(file, (off_t) blocks * RECORD_SIZE) != 0)
		elog(LOG, "varve: could not cut the shadow: %m");
	close(file);
}

void
shadow_forget_database(Oid db)
{
	DIR		   *directory = opendir(DIRECTORY);
	char		prefix[16];
	struct dirent *entry;

	snprintf(prefix, sizeof(prefix), "%u.", db);
	while (directory != NULL && (entry = readdir(directory)) != NULL)
	{
		char		path[MAXPGPATH];

		if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
			continue;
		snprintf(path, sizeof(path), DIRECTORY "/%s", entry->d_name);
		unlink(path);
	}
	if (directory != NULL)
		closedir(directory);
}
