/*
 * smgr_table.c: puts our functions into the server's storage manager table.
 *
 * smgrsw is a static const array of smgr.c, so it has no symbol; but it is full
 * of addresses, hence the linker keeps it in the part of the executable that
 * is made read-only after relocation (PT_GNU_RELRO), and the addresses are
 * those of exported md* functions.  The one place where they stand in the
 * right order is the table.  Anything else than exactly one hit is FATAL.
 */
#include "postgres.h"

#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include "smgr_table.h"

typedef struct Search
{
	SmgrFunction *table;
	int			hits;
} Search;

static bool
row_matches(SmgrFunction *row)
{
	for (int i = 0; i < smgr_slot_count; i++)
		if (row[i] != smgr_slots[i].stock)
			return false;
	return true;
}

static void
search_range(uintptr_t start, size_t size, Search *search)
{
	SmgrFunction *row = (SmgrFunction *) TYPEALIGN(sizeof(SmgrFunction), start);
	SmgrFunction *end = (SmgrFunction *) (start + size);

	for (; row + smgr_slot_count <= end; row++)
		if (row_matches(row))
		{
			search->table = row;
			search->hits++;
		}
}

/* the first object that dl_iterate_phdr names is the executable itself */
static int
search_executable(struct dl_phdr_info *object, size_t size, void *search)
{
	for (int i = 0; i < object->dlpi_phnum; i++)
	{
		const ElfW(Phdr) *header = &object->dlpi_phdr[i];

		if (header->p_type == PT_GNU_RELRO)
			search_range(object->dlpi_addr + header->p_vaddr, header->p_memsz, search);
	}
	return 1;
}

static void
protect_table(SmgrFunction *table, int protection)
{
	uintptr_t	page_size = sysconf(_SC_PAGESIZE);
	uintptr_t	start = (uintptr_t) table & ~(page_size - 1);
	uintptr_t	end = TYPEALIGN(page_size, (uintptr_t) (table + smgr_slot_count));

	if (mprotect((void *) start, end - start, protection) != 0)
		ereport(FATAL,
				(errmsg("varve: could not change the protection of the storage manager table: %m")));
}

void
smgr_table_interpose(void)
{
	Search		search = {NULL, 0};

	dl_iterate_phdr(search_executable, &search);
	if (search.hits != 1)
		ereport(FATAL,
				(errmsg("varve: found %d storage manager tables in this server, expected one",
						search.hits),
				 errhint("This build of PostgreSQL is not supported; see pgext/README.md.")));

	protect_table(search.table, PROT_READ | PROT_WRITE);
	for (int i = 0; i < smgr_slot_count; i++)
		if (smgr_slots[i].ours != NULL)
			search.table[i] = smgr_slots[i].ours;
	protect_table(search.table, PROT_READ);
}
