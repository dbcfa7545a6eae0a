/*
 * Words for what our readers and writers assume of PostgreSQL's structs. Each assertion ends the compilation with
 * the name of what is not as assumed; nothing here is ever linked.
 */
#ifndef VARVE_ASSERTIONS_H
#define VARVE_ASSERTIONS_H

/* The field lies at this offset and has so many bytes. */
#define FIELD(type, member, at, width) \
	_Static_assert(offsetof(type, member) == (at) && sizeof(((type *) 0)->member) == (width), \
				   #type "." #member ": we assume " #width " bytes at " #at)

/* The same of an array without length, of elements of this size. */
#define ARRAY(type, member, at, width) \
	_Static_assert(offsetof(type, member) == (at) && sizeof(((type *) 0)->member[0]) == (width), \
				   #type "." #member ": we assume elements of " #width " bytes from " #at)

/* A size or any other number. */
#define NUMBER(expression, value) \
	_Static_assert((expression) == (value), #expression ": we assume " #value)

#endif
