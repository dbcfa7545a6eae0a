/*
 * page_messages.c: encodes requests, takes answers apart.  No I/O, no errors raised.
 *
 *   request   tag u8 | request id u64 | request_lsn u64 | not_modified_since u64 | body
 *     2 GetPage      spc u32, db u32, rel u32, fork u8, block u32
 *     5 GetPageRun   the same, then blocks u32
 *     +0x80          of a trace: trace id 16, span id 8, flags u8 follow, which do not come back
 *   answer    tag u8 | request id | request_lsn | not_modified_since | body of the request | pages
 *     102 GetPage, 106 GetPageRun
 *     103 Error      header only, then "SQLSTATE: message" and a zero byte
 *
 * Integers are big-endian.  Answers come from the network: every length is checked.
 */
#include "postgres.h"

#include "page_messages.h"
#include "wire.h"

#define TAG_GET_PAGE 2
#define TAG_GET_PAGE_RUN 5
#define TAG_TRACED 0x80
#define TAG_PAGE 102
#define TAG_ERROR 103
#define TAG_PAGE_RUN 106

#define HEADER_LENGTH (1 + 3 * 8)

static int
encode(const PageRequest *request, char *bytes)
{
	char	   *at = bytes;

	at = put_u8(at, request->blocks == 1 ? TAG_GET_PAGE : TAG_GET_PAGE_RUN);
	at = put_u64(at, request->id);
	at = put_u64(at, request->request_lsn);
	at = put_u64(at, request->not_modified_since);
	at = put_u32(at, request->relation.spc);
	at = put_u32(at, request->relation.db);
	at = put_u32(at, request->relation.rel);
	at = put_u8(at, (uint8) request->fork);
	at = put_u32(at, request->block);
	if (request->blocks > 1)
		at = put_u32(at, request->blocks);
	return at - bytes;
}

int
page_request_encode(const PageRequest *request, const char *trace_context, char *bytes)
{
	int			length = encode(request, bytes);

	if (trace_context == NULL)
		return length;
	bytes[0] = (char) ((uint8) bytes[0] | TAG_TRACED);
	memcpy(bytes + length, trace_context, TRACE_CONTEXT_LENGTH);
	return length + TRACE_CONTEXT_LENGTH;
}

static PageAnswer
decode_error(const char *text, size_t length)
{
	PageAnswer	answer = {ANSWER_MALFORMED, NULL, "XX000", NULL};

	if (length == 0 || text[length - 1] != '\0')
		return answer;
	answer.kind = ANSWER_ERROR;
	answer.message = text;
	if (strlen(text) > 7 && text[5] == ':' &&
		strspn(text, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5)
	{
		memcpy(answer.sqlstate, text, 5);
		answer.message = text + 6 + strspn(text + 6, " ");
	}
	return answer;
}

uint64
page_answer_id(const char *bytes, size_t length)
{
	uint64		id;

	if (length < HEADER_LENGTH)
		return 0;
	memcpy(&id, bytes + 1, sizeof(id));
	return pg_ntoh64(id);
}

PageAnswer
page_answer_decode(const PageRequest *request, const char *bytes, size_t length)
{
	PageAnswer	answer = {ANSWER_MALFORMED, NULL, "XX000", NULL};
	char		expected[PAGE_REQUEST_MAX];
	int			echo = encode(request, expected);
	uint8		tag;

	if (length < HEADER_LENGTH)
		return answer;
	tag = (uint8) bytes[0];
	if (tag == TAG_ERROR)
		return decode_error(bytes + HEADER_LENGTH, length - HEADER_LENGTH);

	/* all but the tag comes back as it was sent */
	if (tag != (request->blocks == 1 ? TAG_PAGE : TAG_PAGE_RUN) ||
		length != echo + (size_t) request->blocks * BLCKSZ ||
		memcmp(bytes + 1, expected + 1, echo - 1) != 0)
		return answer;
	answer.kind = ANSWER_PAGES;
	answer.pages = bytes + echo;
	return answer;
}
