/* SPDX-License-Identifier: GPL-2.0-only */
/* Data keys of a peer: two slots. */
#ifndef OVPN6_KEY_H
#define OVPN6_KEY_H

#include <crypto/aead.h>
#include <linux/refcount.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "ovpn6_netlink.h"
#include "packet.h"
#include "replay.h"

struct ovpn6_peer;

/**
 * struct ovpn6_way - one direction of a key
 * @aead: the cipher with its key
 * @nonce_tail: what follows the packet id in a nonce
 */
struct ovpn6_way {
	struct crypto_aead *aead;
	u8 nonce_tail[OVPN6_NONCE_TAIL];
};

/**
 * struct ovpn6_key - a key with its two directions
 * @id: 0 to 7, in each packet
 * @cipher: which
 * @is_async: a request may complete later
 * @send: seals
 * @receive: opens
 * @last_id: packet id that was used last
 * @replay_lock: for @replay
 * @replay: packet ids that were seen
 * @refs: of requests on their way, and one for being in a slot
 * @release: frees it behind its last reader, where one may sleep
 */
struct ovpn6_key {
	u8 id;
	enum ovpn6_cipher cipher;
	bool is_async;
	struct ovpn6_way send, receive;
	atomic64_t last_id;
	spinlock_t replay_lock;
	struct ovpn6_replay replay;
	refcount_t refs;
	struct rcu_work release;
};

/**
 * struct ovpn6_keys - what a peer has
 * @slot: either; which of them is primary changes
 * @primary: 0 or 1: the one that seals
 */
struct ovpn6_keys {
	struct ovpn6_key __rcu *slot[2];
	u8 primary;
};

/**
 * struct ovpn6_key_order - a key that user space wants installed
 * @id: 0 to 7
 * @cipher: which
 * @send: its octets
 * @receive: likewise
 */
struct ovpn6_key_order {
	u8 id;
	enum ovpn6_cipher cipher;
	struct ovpn6_key_octets {
		const u8 *key;
		unsigned int size;
		const u8 *nonce_tail;
	} send, receive;
};

struct ovpn6_key *ovpn6_key_new(const struct ovpn6_key_order *order);
void ovpn6_key_put(struct ovpn6_key *key);
void ovpn6_key_install(struct ovpn6_peer *peer, enum ovpn6_slot slot, struct ovpn6_key *key);
bool ovpn6_key_kill(struct ovpn6_peer *peer, struct ovpn6_key *key);
void ovpn6_keys_swap(struct ovpn6_peer *peer);
void ovpn6_keys_free(struct ovpn6_keys *keys);
struct ovpn6_key *ovpn6_key_sealing(const struct ovpn6_peer *peer);
struct ovpn6_key *ovpn6_key_opening(const struct ovpn6_peer *peer, u8 id);
struct ovpn6_key *ovpn6_key_in(const struct ovpn6_peer *peer, enum ovpn6_slot slot);
int ovpn6_keys_start(void);
void ovpn6_keys_stop(void);

#endif
