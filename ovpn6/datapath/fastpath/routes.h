/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which peer an inner address belongs to: the longest prefix that matches, by one hash table for
 * each prefix length in use. The reference is ovpn6/datapath/inner_routes.py.
 */
#ifndef OVPN6_FASTPATH_ROUTES_H
#define OVPN6_FASTPATH_ROUTES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "map.h"

#define FP_PREFIXES6 129
#define FP_PREFIXES4 33

struct fp_peer;

/**
 * struct fp_routes - prefixes of both families
 * @used6: a bit for each length in use, 128 being bit 0 of the third word; likewise @used4
 * @tables6: by length; the key is the address masked
 */
struct fp_routes {
	_Atomic uint64_t used6[3];
	_Atomic uint64_t used4;
	struct fp_map tables6[FP_PREFIXES6];
	struct fp_map tables4[FP_PREFIXES4];
};

/**
 * fp_routes_init() - nothing is reached
 */
void fp_routes_init(struct fp_routes *routes);

/**
 * fp_routes_free() - give everything back
 */
void fp_routes_free(struct fp_routes *routes);

/**
 * fp_route_set() - a prefix belongs to @peer from now on
 * @address: 16 or 4 octets, no bit set after the prefix
 * @size: 16 or 4
 * @length: at most 8 * @size
 *
 * Return: the peer that had it, which may be @peer; NULL when nobody did, and with @failed set
 * when there is no memory.
 */
struct fp_peer *fp_route_set(struct fp_routes *routes, struct fp_grace *grace,
			     const uint8_t *address, size_t size, unsigned int length,
			     struct fp_peer *peer, bool *failed);

/**
 * fp_route_remove() - a prefix belongs to nobody
 *
 * Return: the peer that had it, NULL when nobody did.
 */
struct fp_peer *fp_route_remove(struct fp_routes *routes, struct fp_grace *grace,
				const uint8_t *address, size_t size, unsigned int length);

/**
 * fp_route_find() - the owner of the longest prefix that holds an address
 * @address: @size octets, 16 or 4
 *
 * Return: NULL for addresses of nobody and reserved ones (unspecified, loopback, link-local,
 * multicast).
 */
struct fp_peer *fp_route_find(const struct fp_routes *routes, const uint8_t *address, size_t size);

/**
 * fp_is_multicast() - whether an address of @size octets is
 */
bool fp_is_multicast(const uint8_t *address, size_t size);

#endif
