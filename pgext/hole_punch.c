/*
 * hole_punch.c: gives the disk space of blocks back to the file system.
 *
 * Relation files keep their length; a block that is dropped becomes a hole.
 * Files are opened by path, beside the descriptors of md: those see the hole
 * too, it is the same inode.
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "storage/fd.h"

#include "hole_punch.h"
#include "smgr_md.h"

#define PROBE_FILE "varve.probe"
#define TABLESPACES "pg_tblspc"

static off_t
offset_in_segment(BlockNumber block)
{
	return (off_t) (block % RELSEG_SIZE) * BLCKSZ;
}

int
open_segment(const ChunkKey *key, BlockNumber block)
{
	BlockNumber segment = block / RELSEG_SIZE;
	char	   *fork = fork_path(key->relation, key->fork);
	char		path[MAXPGPATH];

	if (segment == 0)
		strlcpy(path, fork, sizeof(path));
	else
		snprintf(path, sizeof(path), "%s.%u", fork, segment);
	pfree(fork);
	return BasicOpenFile(path, O_RDWR | PG_BINARY);
}

bool
punch_blocks(int segment, BlockNumber first, uint32 blocks)
{
	return fallocate(segment, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					 offset_in_segment(first), (off_t) blocks * BLCKSZ) == 0;
}

bool
allocate_block(int segment, BlockNumber block)
{
	return fallocate(segment, FALLOC_FL_KEEP_SIZE, offset_in_segment(block), BLCKSZ) == 0;
}

/* a block is written, dropped and read again: it must read as zeros, at the same length of the file */
static bool
directory_has_holes(const char *directory)
{
	char		path[MAXPGPATH];
	PGAlignedBlock page;
	bool		works;
	int			file;

	snprintf(path, sizeof(path), "%s/" PROBE_FILE, directory);
	file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, pg_file_create_mode);
	if (file < 0)
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("varve: could not create file \"%s\": %m", path)));
	memset(page.data, 'x', BLCKSZ);
	works = pwrite(file, page.data, BLCKSZ, 0) == BLCKSZ && punch_blocks(file, 0, 1) &&
		lseek(file, 0, SEEK_END) == BLCKSZ && pread(file, page.data, BLCKSZ, 0) == BLCKSZ;
	for (int i = 0; i < BLCKSZ && works; i++)
		works = page.data[i] == 0;
	close(file);
	unlink(path);
	return works;
}

static void
require_holes(const char *directory)
{
	if (!directory_has_holes(directory))
		ereport(FATAL,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("varve: the file system of \"%s\" cannot punch holes into files", directory),
				 errdetail("Blocks that are evicted from the cache could not give back their disk space."),
				 errhint("Put the data directory of the compute on ext4, XFS, Btrfs or tmpfs.")));
}

void
hole_punch_probe(void)
{
	DIR		   *tablespaces = opendir(TABLESPACES);
	struct dirent *entry;

	require_holes(".");
	while (tablespaces != NULL && (entry = readdir(tablespaces)) != NULL)
	{
		char		path[MAXPGPATH];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), TABLESPACES "/%s", entry->d_name);
		require_holes(path);
	}
	if (tablespaces != NULL)
		closedir(tablespaces);
}
