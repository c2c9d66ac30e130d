// SPDX-License-Identifier: GPL-2.0-only
/* Requests about keys. */

#include "compat.h"
#include "netlink.h"
#include "peer.h"
#include "policies.h"

static bool is_missing(struct ovpn6_request *request, int attribute)
{
	struct nlattr *nest = request->info->attrs[OVPN6_A_KEYCONF];

	return NL_REQ_ATTR_CHECK(request->extack, nest, request->nest, attribute);
}

static struct ovpn6_peer *peer_of(struct ovpn6_request *request, bool is_change)
{
	u32 id = nla_get_u32(request->nest[OVPN6_A_KEYCONF_PEER_ID]);
	struct ovpn6_peer *peer = ovpn6_peer_find(request->device, id);

	if (!peer && is_change)
		OVPN6_SAY(request->extack, "no peer with this id", "no peer with id %u", id);
	else if (!peer)
		OVPN6_SAY(request->extack, "cannot find peer", "cannot find peer with id %u", id);
	return peer;
}

static int read_way(struct ovpn6_request *request, int attribute, struct ovpn6_key_octets *octets)
{
	struct nlattr *nest = request->nest[attribute], *inside[OVPN6_KEYDIR_LAST + 1];
	int error;

	error = nla_parse_nested(inside, OVPN6_KEYDIR_LAST, nest, ovpn6_keydir_policy,
				 request->extack);
	if (error)
		return error;
	if (NL_REQ_ATTR_CHECK(request->extack, nest, inside, OVPN6_A_KEYDIR_CIPHER_KEY) ||
	    NL_REQ_ATTR_CHECK(request->extack, nest, inside, OVPN6_A_KEYDIR_NONCE_TAIL))
		return -EINVAL;
	octets->key = nla_data(inside[OVPN6_A_KEYDIR_CIPHER_KEY]);
	octets->size = nla_len(inside[OVPN6_A_KEYDIR_CIPHER_KEY]);
	octets->nonce_tail = nla_data(inside[OVPN6_A_KEYDIR_NONCE_TAIL]);
	return 0;
}

/* No octet of a key stays in a message. */
static void wipe(struct ovpn6_request *request, int attribute)
{
	memzero_explicit(nla_data(request->nest[attribute]), nla_len(request->nest[attribute]));
}

static int read_order(struct ovpn6_request *request, struct ovpn6_key_order *order)
{
	int attribute, error;

	for (attribute = OVPN6_A_KEYCONF_PEER_ID; attribute <= OVPN6_A_KEYCONF_DECRYPT_DIR; attribute++)
		if (is_missing(request, attribute))
			return -EINVAL;
	order->id = nla_get_u32(request->nest[OVPN6_A_KEYCONF_KEY_ID]);
	order->cipher = nla_get_u32(request->nest[OVPN6_A_KEYCONF_CIPHER_ALG]);
	error = read_way(request, OVPN6_A_KEYCONF_ENCRYPT_DIR, &order->send);
	if (error)
		return error;
	return read_way(request, OVPN6_A_KEYCONF_DECRYPT_DIR, &order->receive);
}

/**
 * ovpn6_prepare_key_new - make the key of an order
 * @request: the request; its device is not locked
 *
 * Return: 0 or an error.
 */
int ovpn6_prepare_key_new(struct ovpn6_request *request)
{
	struct ovpn6_key_order order;
	struct ovpn6_key *key;
	int error = read_order(request, &order);

	if (error)
		return error;
	if (order.cipher == OVPN6_CIPHER_NONE) {
		NL_SET_ERR_MSG(request->extack, "unsupported cipher");
		return -EINVAL;
	}
	key = ovpn6_key_new(&order);
	wipe(request, OVPN6_A_KEYCONF_ENCRYPT_DIR);
	wipe(request, OVPN6_A_KEYCONF_DECRYPT_DIR);
	if (IS_ERR(key)) {
		NL_SET_ERR_MSG(request->extack, "cannot install new key: its cipher refuses it");
		return PTR_ERR(key);
	}
	request->key = key;
	return 0;
}

/**
 * ovpn6_handle_key_new - install a key in a slot, over what is there
 * @request: the request, prepared
 *
 * Return: 0 or an error.
 */
int ovpn6_handle_key_new(struct ovpn6_request *request)
{
	struct ovpn6_peer *peer = peer_of(request, true);

	if (!peer)
		return -ENOENT;
	ovpn6_key_install(peer, nla_get_u32(request->nest[OVPN6_A_KEYCONF_SLOT]), request->key);
	request->key = NULL;
	return 0;
}

static int put_key(struct sk_buff *message, u32 peer, enum ovpn6_slot slot,
		   const struct ovpn6_key *key)
{
	struct nlattr *nest = nla_nest_start(message, OVPN6_A_KEYCONF);

	if (!nest || nla_put_u32(message, OVPN6_A_KEYCONF_PEER_ID, peer) ||
	    nla_put_u32(message, OVPN6_A_KEYCONF_SLOT, slot) ||
	    nla_put_u32(message, OVPN6_A_KEYCONF_KEY_ID, key->id) ||
	    nla_put_u32(message, OVPN6_A_KEYCONF_CIPHER_ALG, key->cipher))
		return -EMSGSIZE;
	nla_nest_end(message, nest);
	return 0;
}

static int answer(struct ovpn6_request *request, u32 peer, enum ovpn6_slot slot,
		  const struct ovpn6_key *key)
{
	struct sk_buff *message = nlmsg_new(NLMSG_GOODSIZE, GFP_ATOMIC);
	void *header;

	if (!message)
		return -ENOMEM;
	header = genlmsg_put_reply(message, request->info,
				   &ovpn6_device_face(request->device)->family, 0,
				   OVPN6_CMD_KEY_GET);
	if (!header || put_key(message, peer, slot, key)) {
		nlmsg_free(message);
		return -EMSGSIZE;
	}
	genlmsg_end(message, header);
	return genlmsg_reply(message, request->info);
}

/**
 * ovpn6_handle_key_get - tell of a key, never its octets
 * @request: the request
 *
 * Return: 0 or an error.
 */
int ovpn6_handle_key_get(struct ovpn6_request *request)
{
	struct ovpn6_peer *peer;
	struct ovpn6_key *key;
	enum ovpn6_slot slot;
	int error = -ENOENT;

	if (is_missing(request, OVPN6_A_KEYCONF_PEER_ID) ||
	    is_missing(request, OVPN6_A_KEYCONF_SLOT))
		return -EINVAL;
	peer = peer_of(request, false);
	if (!peer)
		return -ENOENT;
	slot = nla_get_u32(request->nest[OVPN6_A_KEYCONF_SLOT]);
	rcu_read_lock();
	key = ovpn6_key_in(peer, slot);
	if (key)
		error = answer(request, peer->id, slot, key);
	else
		OVPN6_SAY(request->extack, "cannot get key from this slot",
			  "cannot get key from slot %u for peer %u", slot, peer->id);
	rcu_read_unlock();
	return error;
}

/**
 * ovpn6_handle_key_swap - primary and secondary change places
 * @request: the request
 *
 * Return: 0 or an error.
 */
int ovpn6_handle_key_swap(struct ovpn6_request *request)
{
	struct ovpn6_peer *peer;

	if (is_missing(request, OVPN6_A_KEYCONF_PEER_ID))
		return -EINVAL;
	peer = peer_of(request, true);
	if (!peer)
		return -ENOENT;
	ovpn6_keys_swap(peer);
	return 0;
}

/**
 * ovpn6_handle_key_del - empty a slot
 * @request: the request
 *
 * Return: 0 or an error.
 */
int ovpn6_handle_key_del(struct ovpn6_request *request)
{
	struct ovpn6_peer *peer;

	if (is_missing(request, OVPN6_A_KEYCONF_PEER_ID) ||
	    is_missing(request, OVPN6_A_KEYCONF_SLOT))
		return -EINVAL;
	peer = peer_of(request, true);
	if (!peer)
		return -ENOENT;
	ovpn6_key_install(peer, nla_get_u32(request->nest[OVPN6_A_KEYCONF_SLOT]), NULL);
	return 0;
}
