/* statistics.h: cumulative statistics, written before the server stops */
#ifndef VARVE_STATISTICS_H
#define VARVE_STATISTICS_H

/* PGSTAT_STAT_PERMANENT_FILENAME */
#define STATISTICS_FILE "pg_stat/pgstat.stat"

/* waits a moment for sessions that are ending, then writes the file */
extern void statistics_write(void);

#endif
