/*
 * life.c: refuses to start on files whose holes nobody remembers.
 *
 * Which blocks of the files are valid is known to shared memory only.  Started
 * a second time on the same files, every hole would read as an empty page:
 * silent loss of rows.  So compute_ctl writes a fresh id to <PGDATA>/varve.life
 * and passes it as varve.life_id; the file is renamed away here, before
 * anything is read, and a restart that compute_ctl did not make finds none.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "miscadmin.h"

#include "gucs.h"
#include "life.h"

#define LIFE_FILE "varve.life"
#define USED_LIFE_FILE "varve.life.used"
#define LIFE_ID_MAX 128

static void
refuse(const char *detail)
{
	ereport(FATAL,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("varve: this data directory was not made for this start of the server"),
			 errdetail("%s", detail),
			 errhint("Relation files of a compute are a cache of one life. Start it with compute_ctl (varve endpoint start), which makes a new one.")));
}

static void
read_life_file(char *id)
{
	int			fd = open(LIFE_FILE, O_RDONLY | O_CLOEXEC);
	ssize_t		length;

	if (fd < 0)
		refuse("There is no file " LIFE_FILE " in the data directory.");
	length = read(fd, id, LIFE_ID_MAX);
	close(fd);
	if (length < 0)
		refuse("The file " LIFE_FILE " cannot be read.");
	while (length > 0 && isspace((unsigned char) id[length - 1]))
		length--;
	id[length] = '\0';
}

void
life_begin(void)
{
	static bool begun = false;
	char		id[LIFE_ID_MAX + 1];

	/* the same postmaster making new shared memory after a crash is another life too */
	if (begun)
		refuse("The server restarted itself after a crash.");
	begun = true;

	read_life_file(id);
	if (strcmp(id, varve_life_id) != 0)
		refuse("The id in " LIFE_FILE " differs from varve.life_id.");
	if (rename(LIFE_FILE, USED_LIFE_FILE) != 0)
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("varve: could not rename \"%s\": %m", LIFE_FILE)));
}

/* somebody starts the files of a compute by hand: their holes would read as empty pages */
void
life_require_none(void)
{
	if (access(LIFE_FILE, F_OK) == 0 || access(USED_LIFE_FILE, F_OK) == 0)
		refuse("It is a compute's, and was started without the settings that compute_ctl passes.");
}
