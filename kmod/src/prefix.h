/* SPDX-License-Identifier: GPL-2.0-only */
/* From addresses to whom they belong, by the longest prefix. Pure. */
#ifndef OVPN6_PREFIX_H
#define OVPN6_PREFIX_H

#include "pure.h"

struct ovpn6_prefix_node;

/**
 * struct ovpn6_prefixes - a path-compressed binary trie of one address family
 * @root: its topmost node
 * @lock: held by whoever changes it; lookups need RCU only
 * @bits: of an address: 32 or 128
 */
struct ovpn6_prefixes {
	struct ovpn6_prefix_node __rcu *root;
	struct mutex *lock;
	u8 bits;
};

void ovpn6_prefixes_init(struct ovpn6_prefixes *prefixes, u8 bits, struct mutex *lock);
void *ovpn6_prefix_find(const struct ovpn6_prefixes *prefixes, const u8 *address);
void *ovpn6_prefix_exact(const struct ovpn6_prefixes *prefixes, const u8 *address, u8 length);
int ovpn6_prefix_add(struct ovpn6_prefixes *prefixes, const u8 *address, u8 length, void *owner);
void *ovpn6_prefix_move(struct ovpn6_prefixes *prefixes, const u8 *address, u8 length, void *owner);
void *ovpn6_prefix_remove(struct ovpn6_prefixes *prefixes, const u8 *address, u8 length);
void ovpn6_prefixes_clear(struct ovpn6_prefixes *prefixes);

#endif
