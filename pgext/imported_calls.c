/*
 * imported_calls.c: calls of the server to functions of the C library, led
 * through ours.
 *
 * The executable calls a function of another library through a word that the
 * loader has filled in, and a relocation names each such word.  Only the
 * executable's own calls are led through ours: our library and all others have
 * words of their own.
 */
#include "postgres.h"

#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include "imported_calls.h"

#if defined(__x86_64__)
#define IS_CALL(type) ((type) == R_X86_64_JUMP_SLOT || (type) == R_X86_64_GLOB_DAT)
#elif defined(__aarch64__)
#define IS_CALL(type) ((type) == R_AARCH64_JUMP_SLOT || (type) == R_AARCH64_GLOB_DAT)
#else
#error "imported_calls.c knows x86-64 and aarch64"
#endif

typedef struct Replacement
{
	const char *name;
	void	   *ours;
	int			replaced;
} Replacement;

/* what of the dynamic section is needed */
typedef struct Tables
{
	const ElfW(Sym) *symbols;
	const char *names;
	const ElfW(Rela) *relocations[2];
	size_t		sizes[2];
} Tables;

static void
protect_word(void **word, int protection)
{
	uintptr_t	page_size = sysconf(_SC_PAGESIZE);
	uintptr_t	start = (uintptr_t) word & ~(page_size - 1);
	uintptr_t	end = TYPEALIGN(page_size, (uintptr_t) (word + 1));

	if (mprotect((void *) start, end - start, protection) != 0)
		ereport(FATAL,
				(errmsg("varve: could not change the protection of the table of imported functions: %m")));
}

/* whether the loader has made it read-only; elsewhere words are filled in when they are first used */
static bool
is_protected(const struct dl_phdr_info *object, void **word)
{
	for (int i = 0; i < object->dlpi_phnum; i++)
	{
		const ElfW(Phdr) *header = &object->dlpi_phdr[i];
		uintptr_t	start = object->dlpi_addr + header->p_vaddr;

		if (header->p_type == PT_GNU_RELRO && (uintptr_t) word >= start &&
			(uintptr_t) word < start + header->p_memsz)
			return true;
	}
	return false;
}

static void
replace_word(const struct dl_phdr_info *object, void **word, void *ours)
{
	bool		protected = is_protected(object, word);

	if (protected)
		protect_word(word, PROT_READ | PROT_WRITE);
	*word = ours;
	if (protected)
		protect_word(word, PROT_READ);
}

/* some loaders put addresses in place of the offsets that the file has */
static const void *
address_of(const struct dl_phdr_info *object, ElfW(Addr) pointer)
{
	return (const void *) (pointer < object->dlpi_addr ? object->dlpi_addr + pointer : pointer);
}

static void
read_dynamic(const struct dl_phdr_info *object, const ElfW(Dyn) *entry, Tables *tables)
{
	for (; entry->d_tag != DT_NULL; entry++)
		switch (entry->d_tag)
		{
			case DT_SYMTAB:
				tables->symbols = address_of(object, entry->d_un.d_ptr);
				break;
			case DT_STRTAB:
				tables->names = address_of(object, entry->d_un.d_ptr);
				break;
			case DT_JMPREL:
				tables->relocations[0] = address_of(object, entry->d_un.d_ptr);
				break;
			case DT_PLTRELSZ:
				tables->sizes[0] = entry->d_un.d_val;
				break;
			case DT_RELA:
				tables->relocations[1] = address_of(object, entry->d_un.d_ptr);
				break;
			case DT_RELASZ:
				tables->sizes[1] = entry->d_un.d_val;
				break;
		}
}

static void
replace_in(const struct dl_phdr_info *object, const Tables *tables, Replacement *replacement)
{
	for (int table = 0; table < 2; table++)
	{
		const ElfW(Rela) *relocation = tables->relocations[table];
		const ElfW(Rela) *end = relocation + tables->sizes[table] / sizeof(ElfW(Rela));

		for (; relocation != NULL && relocation < end; relocation++)
		{
			const ElfW(Sym) *symbol = &tables->symbols[ELF64_R_SYM(relocation->r_info)];

			if (!IS_CALL(ELF64_R_TYPE(relocation->r_info)) ||
				strcmp(tables->names + symbol->st_name, replacement->name) != 0)
				continue;
			replace_word(object, (void **) (object->dlpi_addr + relocation->r_offset), replacement->ours);
			replacement->replaced++;
		}
	}
}

/* the first object that dl_iterate_phdr names is the executable itself */
static int
replace_in_executable(struct dl_phdr_info *object, size_t size, void *replacement)
{
	Tables		tables = {0};

	for (int i = 0; i < object->dlpi_phnum; i++)
		if (object->dlpi_phdr[i].p_type == PT_DYNAMIC)
			read_dynamic(object, (const ElfW(Dyn) *) (object->dlpi_addr + object->dlpi_phdr[i].p_vaddr), &tables);
	if (tables.symbols != NULL && tables.names != NULL)
		replace_in(object, &tables, replacement);
	return 1;
}

void
imported_call_replace(const char *name, void *ours)
{
	Replacement replacement = {name, ours, 0};

	dl_iterate_phdr(replace_in_executable, &replacement);
	if (replacement.replaced == 0)
		ereport(FATAL,
				(errmsg("varve: this server does not call %s() of the C library", name),
				 errhint("This build of PostgreSQL is not supported; see pgext/README.md.")));
}
