// SPDX-License-Identifier: GPL-2.0-only
/*
 * Longest-prefix match over a path-compressed binary trie. Pure.
 *
 * A node stands for a prefix. Its children are longer prefixes of the same beginning, told apart by
 * the first bit behind it. A node without an owner only parts two children. Readers walk under RCU;
 * a node's prefix never changes, and a node is linked when it is whole, so a reader sees the trie
 * before a change or after it.
 */

#include "prefix.h"

#define OVPN6_ADDRESS_SIZE 16

/**
 * struct ovpn6_prefix_node - a prefix
 * @child: longer ones, by the bit behind this one
 * @owner: whose it is; NULL when it only parts two children
 * @rcu: frees the node behind its last reader
 * @length: in bits
 * @address: bits behind the prefix are zero
 */
struct ovpn6_prefix_node {
	struct ovpn6_prefix_node __rcu *child[2];
	void __rcu *owner;
	struct rcu_head rcu;
	u8 length;
	u8 address[OVPN6_ADDRESS_SIZE];
};

#define held(prefixes, pointer) \
	rcu_dereference_protected(pointer, lockdep_is_held((prefixes)->lock))

static unsigned int bit_at(const u8 *address, u8 position)
{
	return address[position / 8] >> (7 - position % 8) & 1;
}

/* How many of the first @most bits two addresses share. */
static u8 common_bits(const u8 *one, const u8 *other, u8 most)
{
	u8 position = 0;

	while (position < most) {
		u8 difference = one[position / 8] ^ other[position / 8];

		/* A bit at a time only where the byte differs. */
		if (difference >> (7 - position % 8) & 1)
			return position;
		if (!difference && most - position >= 8)
			position += 8;
		else
			position++;
	}
	return position;
}

static bool covers(const struct ovpn6_prefix_node *node, const u8 *address)
{
	return common_bits(node->address, address, node->length) == node->length;
}

static struct ovpn6_prefix_node *new_node(const u8 *address, u8 length, void *owner)
{
	struct ovpn6_prefix_node *node = kzalloc(sizeof(*node), GFP_KERNEL_ACCOUNT);
	u8 whole = length / 8;

	if (!node)
		return NULL;
	node->length = length;
	memcpy(node->address, address, whole);
	if (length % 8)
		node->address[whole] = (u8)(address[whole] & 0xff00 >> length % 8);
	RCU_INIT_POINTER(node->owner, owner);
	return node;
}

/**
 * ovpn6_prefixes_init - an empty trie
 * @prefixes: the trie
 * @bits: of an address: 32 or 128
 * @lock: held by whoever changes the trie
 */
void ovpn6_prefixes_init(struct ovpn6_prefixes *prefixes, u8 bits, struct mutex *lock)
{
	RCU_INIT_POINTER(prefixes->root, NULL);
	prefixes->lock = lock;
	prefixes->bits = bits;
}

/**
 * ovpn6_prefix_find - whose prefix an address is in; the longest one counts
 * @prefixes: the trie
 * @address: in network order, as long as the trie's
 *
 * Under RCU, or with the lock held. Return: the owner, NULL when there is none.
 */
void *ovpn6_prefix_find(const struct ovpn6_prefixes *prefixes, const u8 *address)
{
	const struct ovpn6_prefix_node *node;
	void *best = NULL;

	node = rcu_dereference_check(prefixes->root, lockdep_is_held(prefixes->lock));
	while (node && covers(node, address)) {
		void *owner = rcu_dereference_check(node->owner, lockdep_is_held(prefixes->lock));

		if (owner)
			best = owner;
		if (node->length == prefixes->bits)
			break;
		node = rcu_dereference_check(node->child[bit_at(address, node->length)],
					     lockdep_is_held(prefixes->lock));
	}
	return best;
}

/* Where the pointer is to the first node that is not a shorter prefix of this one. */
static struct ovpn6_prefix_node __rcu **place_of(struct ovpn6_prefixes *prefixes,
						 const u8 *address, u8 length,
						 struct ovpn6_prefix_node __rcu ***above)
{
	struct ovpn6_prefix_node __rcu **place = &prefixes->root;
	struct ovpn6_prefix_node *node;

	*above = NULL;
	while ((node = held(prefixes, *place)) && node->length < length && covers(node, address)) {
		*above = place;
		place = &node->child[bit_at(address, node->length)];
	}
	return place;
}

/* The node of one prefix, which may have no owner; NULL when there is none. */
static struct ovpn6_prefix_node *node_of(struct ovpn6_prefixes *prefixes, const u8 *address,
					 u8 length)
{
	struct ovpn6_prefix_node __rcu **above;
	struct ovpn6_prefix_node *node;

	node = held(prefixes, *place_of(prefixes, address, length, &above));
	return node && node->length == length && covers(node, address) ? node : NULL;
}

/**
 * ovpn6_prefix_exact - whose one prefix is
 * @prefixes: the trie, its lock held
 * @address: of the prefix
 * @length: in bits
 *
 * Return: the owner, NULL when nobody has this very prefix.
 */
void *ovpn6_prefix_exact(const struct ovpn6_prefixes *prefixes, const u8 *address, u8 length)
{
	struct ovpn6_prefixes *same = (struct ovpn6_prefixes *)prefixes;
	struct ovpn6_prefix_node *node = node_of(same, address, length);

	return node ? held(prefixes, node->owner) : NULL;
}

/**
 * ovpn6_prefix_move - give a prefix that somebody has to another owner
 * @prefixes: the trie, its lock held
 * @address: of the prefix
 * @length: in bits
 * @owner: not NULL
 *
 * Readers see one owner or the other. Return: the former owner, NULL when nobody has this very
 * prefix; nothing changes then.
 */
void *ovpn6_prefix_move(struct ovpn6_prefixes *prefixes, const u8 *address, u8 length, void *owner)
{
	struct ovpn6_prefix_node *node = node_of(prefixes, address, length);
	void *former = node ? held(prefixes, node->owner) : NULL;

	if (former)
		rcu_assign_pointer(node->owner, owner);
	return former;
}

/**
 * ovpn6_prefix_add - give a prefix to an owner
 * @prefixes: the trie, its lock held
 * @address: of the prefix; bits behind @length do not matter
 * @length: in bits, up to those of an address
 * @owner: not NULL
 *
 * Return: 0, -EADDRINUSE when it is somebody else's, -ENOMEM.
 */
int ovpn6_prefix_add(struct ovpn6_prefixes *prefixes, const u8 *address, u8 length, void *owner)
{
	struct ovpn6_prefix_node __rcu **place, **above;
	struct ovpn6_prefix_node *there, *added, *parting;
	void *former;
	u8 shared;

	place = place_of(prefixes, address, length, &above);
	there = held(prefixes, *place);
	if (there && there->length == length && covers(there, address)) {
		former = held(prefixes, there->owner);
		if (former && former != owner)
			return -EADDRINUSE;
		rcu_assign_pointer(there->owner, owner);
		return 0;
	}
	added = new_node(address, length, owner);
	if (!added)
		return -ENOMEM;
	if (!there) {
		rcu_assign_pointer(*place, added);
		return 0;
	}
	shared = common_bits(there->address, address, min(there->length, length));
	if (shared == length) {
		RCU_INIT_POINTER(added->child[bit_at(there->address, length)], there);
		rcu_assign_pointer(*place, added);
		return 0;
	}
	parting = new_node(address, shared, NULL);
	if (!parting) {
		kfree(added);
		return -ENOMEM;
	}
	RCU_INIT_POINTER(parting->child[bit_at(address, shared)], added);
	RCU_INIT_POINTER(parting->child[bit_at(there->address, shared)], there);
	rcu_assign_pointer(*place, parting);
	return 0;
}

/* Take a node out that has no owner and fewer than two children. */
static void shorten(struct ovpn6_prefixes *prefixes, struct ovpn6_prefix_node __rcu **place)
{
	struct ovpn6_prefix_node *node = held(prefixes, *place), *left, *right;

	left = held(prefixes, node->child[0]);
	right = held(prefixes, node->child[1]);
	if (held(prefixes, node->owner) || (left && right))
		return;
	rcu_assign_pointer(*place, left ? left : right);
	kfree_rcu(node, rcu);
}

/**
 * ovpn6_prefix_remove - take a prefix from its owner
 * @prefixes: the trie, its lock held
 * @address: of the prefix
 * @length: in bits
 *
 * Return: the former owner, NULL when nobody had this very prefix.
 */
void *ovpn6_prefix_remove(struct ovpn6_prefixes *prefixes, const u8 *address, u8 length)
{
	struct ovpn6_prefix_node __rcu **place, **above;
	struct ovpn6_prefix_node *node;
	void *former;

	place = place_of(prefixes, address, length, &above);
	node = held(prefixes, *place);
	if (!node || node->length != length || !covers(node, address))
		return NULL;
	former = held(prefixes, node->owner);
	RCU_INIT_POINTER(node->owner, NULL);
	shorten(prefixes, place);
	if (above)
		shorten(prefixes, above);
	return former;
}

/**
 * ovpn6_prefixes_clear - take all prefixes from their owners
 * @prefixes: the trie, its lock held
 */
void ovpn6_prefixes_clear(struct ovpn6_prefixes *prefixes)
{
	struct ovpn6_prefix_node __rcu **place;
	struct ovpn6_prefix_node *node, *left;

	/* Turn left branches to the right until none is there: then a node may go. No stack. */
	place = &prefixes->root;
	while ((node = held(prefixes, *place))) {
		left = held(prefixes, node->child[0]);
		if (!left) {
			rcu_assign_pointer(*place, held(prefixes, node->child[1]));
			kfree_rcu(node, rcu);
			continue;
		}
		RCU_INIT_POINTER(node->owner, NULL);
		RCU_INIT_POINTER(node->child[0], held(prefixes, left->child[1]));
		rcu_assign_pointer(left->child[1], node);
		RCU_INIT_POINTER(left->owner, NULL);
		rcu_assign_pointer(*place, left);
	}
}
