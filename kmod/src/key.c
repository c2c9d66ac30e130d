// SPDX-License-Identifier: GPL-2.0-only
/* Keys come, change places and go while packets use them: readers under RCU, changes under the
 * peer's lock. Freeing a cipher may sleep, so that is a work of its own.
 */

#include "key.h"

#include "peer.h"

static struct workqueue_struct *releases;

static const char *cipher_name(enum ovpn6_cipher cipher)
{
	switch (cipher) {
	case OVPN6_CIPHER_AES_GCM:
		return "gcm(aes)";
	case OVPN6_CIPHER_CHACHA20_POLY1305:
		return "rfc7539(chacha20,poly1305)";
	default:
		return NULL;
	}
}

static int way_init(struct ovpn6_way *way, const char *name, const struct ovpn6_key_octets *octets)
{
	int error;

	way->aead = crypto_alloc_aead(name, 0, 0);
	if (IS_ERR(way->aead)) {
		error = PTR_ERR(way->aead);
		way->aead = NULL;
		return error;
	}
	error = crypto_aead_setauthsize(way->aead, OVPN6_TAG_SIZE);
	if (!error && crypto_aead_ivsize(way->aead) != OVPN6_NONCE_SIZE)
		error = -EINVAL;
	if (!error)
		error = crypto_aead_setkey(way->aead, octets->key, octets->size);
	memcpy(way->nonce_tail, octets->nonce_tail, sizeof(way->nonce_tail));
	return error;
}

static void key_free(struct ovpn6_key *key)
{
	if (key->send.aead)
		crypto_free_aead(key->send.aead);
	if (key->receive.aead)
		crypto_free_aead(key->receive.aead);
	kfree_sensitive(key);
}

static void key_release(struct work_struct *work)
{
	key_free(container_of(to_rcu_work(work), struct ovpn6_key, release));
}

static bool may_be_async(struct crypto_aead *aead)
{
	return crypto_aead_tfm(aead)->__crt_alg->cra_flags & CRYPTO_ALG_ASYNC;
}

/**
 * ovpn6_key_new - a key that is nowhere yet
 * @order: what user space said
 *
 * May sleep. Return: the key, or an error: -EOPNOTSUPP for an unknown cipher, -EINVAL for a wrong
 * size.
 */
struct ovpn6_key *ovpn6_key_new(const struct ovpn6_key_order *order)
{
	const char *name = cipher_name(order->cipher);
	struct ovpn6_key *key;
	int error;

	if (!name)
		return ERR_PTR(-EOPNOTSUPP);
	key = kzalloc(sizeof(*key), GFP_KERNEL_ACCOUNT);
	if (!key)
		return ERR_PTR(-ENOMEM);
	key->id = order->id;
	key->cipher = order->cipher;
	spin_lock_init(&key->replay_lock);
	refcount_set(&key->refs, 1);
	INIT_RCU_WORK(&key->release, key_release);
	error = way_init(&key->send, name, &order->send);
	if (!error)
		error = way_init(&key->receive, name, &order->receive);
	if (error) {
		key_free(key);
		return ERR_PTR(error);
	}
	key->is_async = may_be_async(key->send.aead) || may_be_async(key->receive.aead);
	return key;
}

/**
 * ovpn6_key_put - one reference less
 * @key: NULL does nothing
 */
void ovpn6_key_put(struct ovpn6_key *key)
{
	if (key && refcount_dec_and_test(&key->refs))
		queue_rcu_work(releases, &key->release);
}

static u8 index_of(const struct ovpn6_keys *keys, enum ovpn6_slot slot)
{
	return READ_ONCE(keys->primary) ^ (slot == OVPN6_SLOT_SECONDARY);
}

/**
 * ovpn6_key_install - put a key into a slot; what was there goes
 * @peer: whose
 * @slot: which
 * @key: NULL empties the slot. The slot takes over the reference
 */
void ovpn6_key_install(struct ovpn6_peer *peer, enum ovpn6_slot slot, struct ovpn6_key *key)
{
	struct ovpn6_key *former;

	spin_lock_bh(&peer->lock);
	former = rcu_replace_pointer(peer->keys.slot[index_of(&peer->keys, slot)], key,
				     lockdep_is_held(&peer->lock));
	spin_unlock_bh(&peer->lock);
	ovpn6_key_put(former);
}

/**
 * ovpn6_key_kill - take a key away that may not be used any more
 * @peer: whose
 * @key: the key
 *
 * Return: whether this call did it.
 */
bool ovpn6_key_kill(struct ovpn6_peer *peer, struct ovpn6_key *key)
{
	bool found = false;
	int i;

	spin_lock_bh(&peer->lock);
	for (i = 0; i < 2; i++) {
		if (rcu_access_pointer(peer->keys.slot[i]) == key) {
			RCU_INIT_POINTER(peer->keys.slot[i], NULL);
			found = true;
		}
	}
	spin_unlock_bh(&peer->lock);
	if (found)
		ovpn6_key_put(key);
	return found;
}

/**
 * ovpn6_keys_swap - primary and secondary change places
 * @peer: whose
 */
void ovpn6_keys_swap(struct ovpn6_peer *peer)
{
	spin_lock_bh(&peer->lock);
	WRITE_ONCE(peer->keys.primary, !peer->keys.primary);
	spin_unlock_bh(&peer->lock);
}

/**
 * ovpn6_keys_free - of a peer that nobody can find any more
 * @keys: both slots
 */
void ovpn6_keys_free(struct ovpn6_keys *keys)
{
	int i;

	for (i = 0; i < 2; i++)
		ovpn6_key_put(rcu_replace_pointer(keys->slot[i], NULL, true));
}

/**
 * ovpn6_key_sealing - the key for packets to a peer
 * @peer: whose
 *
 * Under RCU. Return: the key, NULL when there is none.
 */
struct ovpn6_key *ovpn6_key_sealing(const struct ovpn6_peer *peer)
{
	return rcu_dereference(peer->keys.slot[index_of(&peer->keys, OVPN6_SLOT_PRIMARY)]);
}

/**
 * ovpn6_key_opening - the key for a packet from a peer
 * @peer: whose
 * @id: from the packet
 *
 * Under RCU. Return: the key, NULL when no slot has this id.
 */
struct ovpn6_key *ovpn6_key_opening(const struct ovpn6_peer *peer, u8 id)
{
	u8 first = READ_ONCE(peer->keys.primary);
	struct ovpn6_key *key;

	key = rcu_dereference(peer->keys.slot[first]);
	if (key && key->id == id)
		return key;
	key = rcu_dereference(peer->keys.slot[!first]);
	return key && key->id == id ? key : NULL;
}

/**
 * ovpn6_key_in - what a slot holds
 * @peer: whose
 * @slot: which
 *
 * Under RCU. Return: the key, NULL for an empty slot.
 */
struct ovpn6_key *ovpn6_key_in(const struct ovpn6_peer *peer, enum ovpn6_slot slot)
{
	return rcu_dereference(peer->keys.slot[index_of(&peer->keys, slot)]);
}

/**
 * ovpn6_keys_start - before the first key
 *
 * Return: 0 or -ENOMEM.
 */
int ovpn6_keys_start(void)
{
	releases = alloc_workqueue("ovpn6-keys", WQ_UNBOUND, 0);
	return releases ? 0 : -ENOMEM;
}

/**
 * ovpn6_keys_stop - behind the last key: waits until all are freed
 */
void ovpn6_keys_stop(void)
{
	/* Peers are freed by RCU callbacks, and their keys by works behind one more. */
	rcu_barrier();
	rcu_barrier();
	destroy_workqueue(releases);
}
