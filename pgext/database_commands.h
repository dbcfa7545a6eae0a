/* database_commands.h: commands that move or remove whole directories of relations */
#ifndef VARVE_DATABASE_COMMANDS_H
#define VARVE_DATABASE_COMMANDS_H

extern void database_commands_install(void);

#endif
