// SPDX-License-Identifier: Apache-2.0
/*
 * Open addressing with linear probing. A removed object leaves a mark; a table that is three
 * quarters used is copied without the marks, and the old one is retired.
 */

#include "map.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define SMALLEST 8

struct fp_table {
	size_t mask;
	_Atomic(void *) slots[];
};

static char removed_mark;
#define REMOVED ((void *)&removed_mark)

static uint64_t seed;

void fp_map_init(struct fp_map *map, size_t key_offset, size_t key_size)
{
	/* Addresses are the choice of others: which of them collide must not be known to them. */
	while (seed == 0 && getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		;
	atomic_init(&map->table, NULL);
	map->key_offset = (uint16_t)key_offset;
	map->key_size = (uint16_t)key_size;
	map->live = 0;
	map->used = 0;
}

void fp_map_free(struct fp_map *map)
{
	free(atomic_load(&map->table));
	atomic_store(&map->table, NULL);
}

static size_t hash(const uint8_t *key, size_t size)
{
	uint64_t state = seed;

	for (size_t at = 0; at < size; at += 4) {
		uint32_t word;

		memcpy(&word, key + at, sizeof(word));
		state = (state ^ word) * 0x9e3779b97f4a7c15ull;
		state ^= state >> 32;
	}
	return (size_t)state;
}

static const uint8_t *key_of(const struct fp_map *map, const void *object)
{
	return (const uint8_t *)object + map->key_offset;
}

void *fp_map_find(const struct fp_map *map, const void *key)
{
	const struct fp_table *table = atomic_load(&map->table);

	if (table == NULL)
		return NULL;
	for (size_t at = hash(key, map->key_size);; at++) {
		void *object = atomic_load(&table->slots[at & table->mask]);

		if (object == NULL)
			return NULL;
		if (object != REMOVED && memcmp(key_of(map, object), key, map->key_size) == 0)
			return object;
	}
}

static _Atomic(void *) *place(const struct fp_map *map, struct fp_table *table, const void *object)
{
	const uint8_t *key = key_of(map, object);

	for (size_t at = hash(key, map->key_size);; at++) {
		void *found = atomic_load(&table->slots[at & table->mask]);

		if (found == NULL)
			return &table->slots[at & table->mask];
		if (found != REMOVED && memcmp(key_of(map, found), key, map->key_size) == 0)
			return &table->slots[at & table->mask];
	}
}

static bool make_room(struct fp_map *map, struct fp_grace *grace)
{
	struct fp_table *old = atomic_load(&map->table), *table;
	size_t size = SMALLEST;

	if (old != NULL && (map->used + 1) * 4 <= (old->mask + 1) * 3)
		return true;
	while (size < ((size_t)map->live + 1) * 2)
		size *= 2;
	table = calloc(1, sizeof(*table) + size * sizeof(table->slots[0]));
	if (table == NULL)
		return false;
	table->mask = size - 1;
	for (size_t i = 0; old != NULL && i <= old->mask; i++) {
		void *object = atomic_load(&old->slots[i]);

		if (object != NULL && object != REMOVED)
			atomic_store(place(map, table, object), object);
	}
	map->used = map->live;
	atomic_store(&map->table, table);
	fp_grace_retire(grace, old);
	return true;
}

bool fp_map_put(struct fp_map *map, struct fp_grace *grace, void *object, void **replaced)
{
	_Atomic(void *) *slot;

	*replaced = NULL;
	if (!make_room(map, grace))
		return false;
	slot = place(map, atomic_load(&map->table), object);
	*replaced = atomic_load(slot);
	if (*replaced == NULL) {
		map->used++;
		map->live++;
	}
	atomic_store(slot, object);
	return true;
}

bool fp_map_remove(struct fp_map *map, const void *object)
{
	struct fp_table *table = atomic_load(&map->table);
	_Atomic(void *) *slot;

	if (table == NULL)
		return false;
	slot = place(map, table, object);
	if (atomic_load(slot) != object)
		return false;
	atomic_store(slot, REMOVED);
	map->live--;
	return true;
}

void *fp_map_next(const struct fp_map *map, size_t *position)
{
	const struct fp_table *table = atomic_load(&map->table);

	while (table != NULL && *position <= table->mask) {
		void *object = atomic_load(&table->slots[(*position)++]);

		if (object != NULL && object != REMOVED)
			return object;
	}
	return NULL;
}
