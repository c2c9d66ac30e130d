/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash table of objects whose key has a fixed size. Lookups run beside changes; changes are
 * serialised by their caller. It knows nothing of what the objects are.
 */
#ifndef OVPN6_FASTPATH_MAP_H
#define OVPN6_FASTPATH_MAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "grace.h"

struct fp_table;

/**
 * struct fp_map - the table
 * @table: published; NULL while nothing was ever put
 * @key_offset: of the key in an object
 * @key_size: octets, a multiple of 4
 * @live: objects in it
 * @used: slots taken, removed objects included
 */
struct fp_map {
	_Atomic(struct fp_table *) table;
	uint16_t key_offset;
	uint16_t key_size;
	uint32_t live;
	uint32_t used;
};

/**
 * fp_map_init() - empty
 */
void fp_map_init(struct fp_map *map, size_t key_offset, size_t key_size);

/**
 * fp_map_free() - give the table back; nobody may look at it any more
 */
void fp_map_free(struct fp_map *map);

/**
 * fp_map_find() - the object with a key, NULL when there is none
 *
 * From a reader of the grace periods, or under the lock.
 */
void *fp_map_find(const struct fp_map *map, const void *key);

/**
 * fp_map_put() - add an object, in the place of one with its key
 * @replaced: set to that one, else NULL
 *
 * Return: false without memory.
 */
bool fp_map_put(struct fp_map *map, struct fp_grace *grace, void *object, void **replaced);

/**
 * fp_map_remove() - take this very object out
 *
 * Return: false when it was not in it.
 */
bool fp_map_remove(struct fp_map *map, const void *object);

/**
 * fp_map_next() - walk over all objects
 * @position: 0 at first
 *
 * What is put or removed meanwhile may or may not be seen.
 *
 * Return: NULL at the end.
 */
void *fp_map_next(const struct fp_map *map, size_t *position);

#endif
