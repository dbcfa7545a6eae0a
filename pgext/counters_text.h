/* counters_text.h: the counters as one text */
#ifndef VARVE_COUNTERS_TEXT_H
#define VARVE_COUNTERS_TEXT_H

/* "NAME=VALUE NAME=VALUE ..."; empty while pages are local */
extern const char *counters_text(void);

#endif
