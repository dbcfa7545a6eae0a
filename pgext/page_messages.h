/* page_messages.h: bytes of the pagestream_v3 protocol */
#ifndef VARVE_PAGE_MESSAGES_H
#define VARVE_PAGE_MESSAGES_H

#include "lib/stringinfo.h"

#include "chunk_table.h"

typedef struct PageRequest
{
	uint64		id;
	XLogRecPtr	request_lsn;	/* of the version that is wanted; all ones: the newest */
	XLogRecPtr	not_modified_since;
	RelationTag relation;
	ForkNumber	fork;
	BlockNumber block;
	uint32		blocks;			/* 1..CHUNK_BLOCKS_MAX, consecutive */
} PageRequest;

typedef enum PageAnswerKind
{
	ANSWER_PAGES,
	ANSWER_ERROR,
	ANSWER_MALFORMED
} PageAnswerKind;

typedef struct PageAnswer
{
	PageAnswerKind kind;
	const char *pages;			/* ANSWER_PAGES: blocks * BLCKSZ bytes inside the message */
	char		sqlstate[6];	/* ANSWER_ERROR */
	const char *message;		/* ANSWER_ERROR: terminated inside the message */
} PageAnswer;

/* what a pageserver that takes traces says of itself at the start (TRACES_PARAMETER of pageserver_api) */
#define TRACES_PARAMETER "varve.traces"

/* trace id, span id, flags */
#define TRACE_CONTEXT_LENGTH 25

#define PAGE_REQUEST_MAX (64 + TRACE_CONTEXT_LENGTH)

/*
 * Writes the message to `bytes` and returns its length.  trace_context: which
 * trace it belongs to; NULL: to none.
 */
extern int	page_request_encode(const PageRequest *request, const char *trace_context, char *bytes);

/* which request a message answers; 0: it is none */
extern uint64 page_answer_id(const char *bytes, size_t length);

/* the answer to that very request */
extern PageAnswer page_answer_decode(const PageRequest *request, const char *bytes, size_t length);

#endif
