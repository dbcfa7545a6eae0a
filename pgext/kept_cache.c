/*
 * kept_cache.c: what the cache holds, kept over a clean stop.
 *
 * When the postmaster ends, nobody else lives any more: it writes down which
 * blocks of the local files are real.  If the next start is on the same files,
 * which compute_ctl decides (no WAL was written since, and the files are as the
 * server left them), it finds that file, and reads it once: it is gone before
 * anything changes.  What this life had written needs no protection then, since
 * no transaction of it runs; a block that is missing is as old as the start.
 *
 *    0   8  "varvekpt"
 *    8   4  version of the format, 1
 *   12   4  blocks of a chunk
 *   16   4  number of chunks
 *   20   4  CRC-32C of all that follows
 *   24  40  of each chunk: key (20), KEPT_* (4), valid (16)
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"
#include "storage/ipc.h"

#include "chunk_table.h"
#include "kept_cache.h"

#define KEPT_FILE "varve.kept"
#define NEW_KEPT_FILE "varve.kept.new"
#define MAGIC "varvekpt"
#define FORMAT_VERSION 1

#define KEPT_SEQUENCE 0x01
#define KEPT_ZERO_EXTENDED 0x02
#define KEPT_KNOWN (KEPT_SEQUENCE | KEPT_ZERO_EXTENDED)

typedef struct KeptHeader
{
	char		magic[8];
	uint32		version;
	uint32		chunk_blocks;
	uint32		chunks;
	pg_crc32c	crc;
} KeptHeader;

typedef struct KeptChunk
{
	ChunkKey	key;
	uint32		flags;
	uint64		valid[CHUNK_WORDS];
} KeptChunk;

StaticAssertDecl(sizeof(KeptHeader) == 24 && sizeof(KeptChunk) == 40, "layout of the file of kept chunks");

static pg_crc32c
crc_of(const KeptChunk *chunks, uint32 count)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, chunks, count * sizeof(KeptChunk));
	FIN_CRC32C(crc);
	return crc;
}

/* how many chunks have something in the local files; nobody changes them any more */
static uint32
gather(KeptChunk *chunks)
{
	uint32		used = chunk_table_entries_used();
	uint32		count = 0;

	for (uint32 i = 0; i < used; i++)
	{
		const ChunkEntry *entry = chunk_table_peek(i);

		if (entry == NULL || entry->key.fork == RELATION_ENTRY || !any_block_bit(entry->chunk.valid))
			continue;
		if (chunks != NULL)
		{
			KeptChunk  *kept = &chunks[count];

			kept->key = entry->key;
			kept->flags = (entry->chunk.sequence ? KEPT_SEQUENCE : 0) |
				(entry->chunk.zero_extended ? KEPT_ZERO_EXTENDED : 0);
			memcpy(kept->valid, entry->chunk.valid, sizeof(kept->valid));
		}
		count++;
	}
	return count;
}

static bool
write_all(int fd, const void *bytes, size_t length)
{
	const char *from = bytes;

	while (length > 0)
	{
		ssize_t		written = write(fd, from, length);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return false;
		from += written;
		length -= written;
	}
	return true;
}

/* no word about a failure but in the log: the next start then begins with nothing */
static void
write_kept(const KeptHeader *header, const KeptChunk *chunks)
{
	int			fd = open(NEW_KEPT_FILE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, pg_file_create_mode);
	bool		written;

	if (fd < 0)
	{
		elog(LOG, "varve: cannot write \"%s\": %m", NEW_KEPT_FILE);
		return;
	}
	written = write_all(fd, header, sizeof(KeptHeader)) &&
		write_all(fd, chunks, header->chunks * sizeof(KeptChunk));
	if (close(fd) != 0 || !written || rename(NEW_KEPT_FILE, KEPT_FILE) != 0)
		elog(LOG, "varve: cannot write \"%s\": %m", KEPT_FILE);
}

/* at the end of the postmaster; its children leave without coming here */
static void
keep_at_exit(int code, Datum unused)
{
	KeptHeader	header = {.version = FORMAT_VERSION, .chunk_blocks = varve_chunk_blocks};
	KeptChunk  *chunks;

	if (code != 0 || MyProcPid != PostmasterPid)
		return;
	header.chunks = gather(NULL);
	chunks = malloc(Max(header.chunks, 1) * sizeof(KeptChunk));
	if (chunks == NULL)
		return;
	memcpy(header.magic, MAGIC, sizeof(header.magic));
	(void) gather(chunks);
	header.crc = crc_of(chunks, header.chunks);
	write_kept(&header, chunks);
	free(chunks);
}

static void
refuse(const char *problem)
{
	ereport(FATAL,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("varve: the cache that the last life left is not usable"),
			 errdetail("\"%s\": %s.", KEPT_FILE, problem),
			 errhint("compute_ctl starts over with an empty one.")));
}

static void
read_all(int fd, void *bytes, size_t length)
{
	char	   *into = bytes;

	while (length > 0)
	{
		ssize_t		got = read(fd, into, length);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			refuse("it is cut short or cannot be read");
		into += got;
		length -= got;
	}
}

static void
check_header(const KeptHeader *header, off_t length)
{
	if (memcmp(header->magic, MAGIC, sizeof(header->magic)) != 0 || header->version != FORMAT_VERSION)
		refuse("it is of another format");
	if (header->chunk_blocks != varve_chunk_blocks)
		refuse("varve.chunk_blocks has changed");
	if (length != sizeof(KeptHeader) + (off_t) header->chunks * sizeof(KeptChunk))
		refuse("its length is not what it says");
	/* with their relations they had room in the table; if it has fewer entries now, some may give way to others */
	if (header->chunks > varve_cache_entries)
		refuse("varve.cache_entries leaves no room for it");
}

static void
restore_chunk(const KeptChunk *kept)
{
	LWLock	   *lock;
	ChunkEntry *entry;

	if (kept->key.fork > MAX_FORKNUM || (kept->flags & ~KEPT_KNOWN) != 0)
		refuse("it names what there is not");
	entry = chunk_table_lock_chunk(&kept->key, &lock);
	if (entry == NULL)
		refuse("varve.cache_entries leaves no room for it");
	if (kept->flags & KEPT_SEQUENCE)
		chunk_note_sequence(entry);
	entry->chunk.zero_extended = (kept->flags & KEPT_ZERO_EXTENDED) != 0;
	for (BlockNumber i = 0; i < varve_chunk_blocks; i++)
		if (block_bit(kept->valid, i))
			chunk_set_valid(entry, chunk_first_block(&kept->key) + i);
	LWLockRelease(lock);
}

/* in the postmaster, with all shared memory there */
void
kept_cache_start(void)
{
	int			fd = open(KEPT_FILE, O_RDONLY | O_CLOEXEC);
	KeptHeader	header;
	KeptChunk  *chunks;
	struct stat status;

	on_shmem_exit(keep_at_exit, (Datum) 0);
	if (fd < 0 && errno == ENOENT)
		return;
	if (fd < 0 || fstat(fd, &status) != 0)
		refuse("it cannot be opened");
	read_all(fd, &header, sizeof(header));
	check_header(&header, status.st_size);
	chunks = palloc_extended(Max(header.chunks, 1) * sizeof(KeptChunk), MCXT_ALLOC_HUGE);
	read_all(fd, chunks, header.chunks * sizeof(KeptChunk));
	close(fd);
	if (!EQ_CRC32C(crc_of(chunks, header.chunks), header.crc))
		refuse("its checksum is wrong");
	/* before anything changes in the files: it tells of this moment only */
	if (unlink(KEPT_FILE) != 0)
		refuse("it cannot be removed");
	for (uint32 i = 0; i < header.chunks; i++)
		restore_chunk(&chunks[i]);
	pfree(chunks);
	elog(LOG, "varve: goes on with %llu blocks in the cache",
		 (unsigned long long) chunk_table_cached_blocks());
}
