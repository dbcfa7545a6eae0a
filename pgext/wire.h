/* wire.h: numbers in messages, big-endian; each writer returns where the next one writes */
#ifndef VARVE_WIRE_H
#define VARVE_WIRE_H

#include "port/pg_bswap.h"

static inline char *
put_bytes(char *at, const void *bytes, size_t length)
{
	memcpy(at, bytes, length);
	return at + length;
}

static inline char *
put_u8(char *at, uint8 value)
{
	return put_bytes(at, &value, sizeof(value));
}

static inline char *
put_u32(char *at, uint32 value)
{
	uint32		wire = pg_hton32(value);

	return put_bytes(at, &wire, sizeof(wire));
}

static inline char *
put_u64(char *at, uint64 value)
{
	uint64		wire = pg_hton64(value);

	return put_bytes(at, &wire, sizeof(wire));
}

#endif
