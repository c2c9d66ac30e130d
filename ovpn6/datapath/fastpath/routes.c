// SPDX-License-Identifier: Apache-2.0
/* Longest-prefix match over hash tables. */

#include "routes.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct route {
	uint8_t address[16];
	_Atomic(struct fp_peer *) peer;
};

void fp_routes_init(struct fp_routes *routes)
{
	for (unsigned int i = 0; i < 3; i++)
		atomic_init(&routes->used6[i], 0);
	atomic_init(&routes->used4, 0);
	for (unsigned int i = 0; i < FP_PREFIXES6; i++)
		fp_map_init(&routes->tables6[i], offsetof(struct route, address), 16);
	for (unsigned int i = 0; i < FP_PREFIXES4; i++)
		fp_map_init(&routes->tables4[i], offsetof(struct route, address), 4);
}

static void free_table(struct fp_map *table)
{
	size_t position = 0;
	void *route;

	while ((route = fp_map_next(table, &position)) != NULL)
		free(route);
	fp_map_free(table);
}

void fp_routes_free(struct fp_routes *routes)
{
	for (unsigned int i = 0; i < FP_PREFIXES6; i++)
		free_table(&routes->tables6[i]);
	for (unsigned int i = 0; i < FP_PREFIXES4; i++)
		free_table(&routes->tables4[i]);
}

static struct fp_map *table_of(struct fp_routes *routes, size_t size, unsigned int length)
{
	return size == 16 ? &routes->tables6[length] : &routes->tables4[length];
}

static void mark(struct fp_routes *routes, size_t size, unsigned int length, bool used)
{
	_Atomic uint64_t *word = size == 16 ? &routes->used6[length / 64] : &routes->used4;
	uint64_t bit = 1ull << (length % 64);

	if (used)
		atomic_fetch_or(word, bit);
	else
		atomic_fetch_and(word, ~bit);
}

struct fp_peer *fp_route_set(struct fp_routes *routes, struct fp_grace *grace,
			     const uint8_t *address, size_t size, unsigned int length,
			     struct fp_peer *peer, bool *failed)
{
	struct fp_map *table = table_of(routes, size, length);
	struct route *route = fp_map_find(table, address);
	void *replaced;

	*failed = false;
	if (route != NULL)
		return atomic_exchange(&route->peer, peer);
	route = calloc(1, sizeof(*route));
	*failed = route == NULL;
	if (*failed)
		return NULL;
	memcpy(route->address, address, size);
	atomic_init(&route->peer, peer);
	if (!fp_map_put(table, grace, route, &replaced)) {
		*failed = true;
		free(route);
		return NULL;
	}
	mark(routes, size, length, true);
	return NULL;
}

struct fp_peer *fp_route_remove(struct fp_routes *routes, struct fp_grace *grace,
				const uint8_t *address, size_t size, unsigned int length)
{
	struct fp_map *table = table_of(routes, size, length);
	struct route *route = fp_map_find(table, address);

	if (route == NULL)
		return NULL;
	fp_map_remove(table, route);
	if (table->live == 0)
		mark(routes, size, length, false);
	fp_grace_retire(grace, route);
	return atomic_load(&route->peer);
}

static bool is_reserved6(const uint8_t *address)
{
	static const uint8_t zeros[15];

	if (address[0] == 0)
		return memcmp(address, zeros, 15) == 0 && address[15] <= 1;
	return address[0] == 0xff || (address[0] == 0xfe && (address[1] & 0xc0) == 0x80);
}

static bool is_reserved4(const uint8_t *address)
{
	return address[0] == 0 || address[0] == 127 || address[0] >= 224 ||
	       (address[0] == 169 && address[1] == 254);
}

static struct fp_peer *look_up(const struct fp_map *table, const uint8_t *address,
			       unsigned int length)
{
	uint8_t masked[16] = { 0 };
	struct route *route;

	memcpy(masked, address, (length + 7) / 8);
	if (length % 8)
		masked[length / 8] &= (uint8_t)(0xff00 >> (length % 8));
	route = fp_map_find(table, masked);
	return route == NULL ? NULL : atomic_load(&route->peer);
}

static struct fp_peer *find6(const struct fp_routes *routes, const uint8_t *address)
{
	for (unsigned int word = 3; word-- > 0;) {
		uint64_t used = atomic_load(&routes->used6[word]);

		while (used != 0) {
			unsigned int bit = 63 - (unsigned int)__builtin_clzll(used);
			struct fp_peer *peer =
				look_up(&routes->tables6[word * 64 + bit], address, word * 64 + bit);

			if (peer != NULL)
				return peer;
			used &= ~(1ull << bit);
		}
	}
	return NULL;
}

struct fp_peer *fp_route_find(const struct fp_routes *routes, const uint8_t *address, size_t size)
{
	uint64_t used;

	if (size == 16)
		return is_reserved6(address) ? NULL : find6(routes, address);
	if (is_reserved4(address))
		return NULL;
	used = atomic_load(&routes->used4);
	while (used != 0) {
		unsigned int length = 63 - (unsigned int)__builtin_clzll(used);
		struct fp_peer *peer = look_up(&routes->tables4[length], address, length);

		if (peer != NULL)
			return peer;
		used &= ~(1ull << length);
	}
	return NULL;
}

bool fp_is_multicast(const uint8_t *address, size_t size)
{
	return size == 16 ? address[0] == 0xff : address[0] >= 224;
}
