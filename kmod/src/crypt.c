// SPDX-License-Identifier: GPL-2.0-only
/*
 * One AEAD request a packet, in one allocation with its nonce and scatterlist. Where the cipher
 * completes at once nothing is held but RCU; where it may complete later the request holds peer
 * and key, and through the peer the device.
 */

#include "crypt.h"

#include <linux/scatterlist.h>

#include "compat.h"
#include "peer.h"

/**
 * struct ovpn6_operation - a request on its way
 * @packet: what it is about
 * @done: what follows
 * @nonce: packet id and tail
 * @request: the cipher's; its own state and the scatterlist follow
 */
struct ovpn6_operation {
	struct ovpn6_packet packet;
	ovpn6_done done;
	u8 nonce[OVPN6_NONCE_SIZE];
	struct aead_request request;
};

static struct scatterlist *list_of(struct ovpn6_operation *operation, struct crypto_aead *aead)
{
	u8 *behind = (u8 *)operation + sizeof(*operation) + crypto_aead_reqsize(aead);

	return (struct scatterlist *)PTR_ALIGN(behind, __alignof__(struct scatterlist));
}

/* Whatever @pieces parts a packet has; tag and header are one more each. */
static struct ovpn6_operation *operation_new(const struct ovpn6_packet *packet,
					     struct crypto_aead *aead, int pieces, ovpn6_done done)
{
	size_t size = sizeof(struct ovpn6_operation) + crypto_aead_reqsize(aead) +
		      __alignof__(struct scatterlist) + (pieces + 2) * sizeof(struct scatterlist);
	struct ovpn6_operation *operation = kmalloc(size, GFP_ATOMIC);

	if (!operation)
		return NULL;
	operation->packet = *packet;
	operation->done = done;
	return operation;
}

static void finish(struct ovpn6_operation *operation, int error)
{
	struct ovpn6_packet packet = operation->packet;
	ovpn6_done done = operation->done;

	kfree(operation);
	done(&packet, error);
}

OVPN6_COMPLETION(completed)
{
	struct ovpn6_operation *operation = OVPN6_COMPLETED;
	struct ovpn6_packet packet = operation->packet;

	/* It left a queue of the cipher's, and is told of again when it is done. */
	if (error == -EINPROGRESS)
		return;
	local_bh_disable();
	rcu_read_lock();
	finish(operation, error);
	rcu_read_unlock();
	local_bh_enable();
	ovpn6_key_put(packet.key);
	ovpn6_peer_put(packet.peer);
}

static bool hold_both(const struct ovpn6_packet *packet)
{
	if (!refcount_inc_not_zero(&packet->key->refs))
		return false;
	if (ovpn6_peer_hold(packet->peer))
		return true;
	ovpn6_key_put(packet->key);
	return false;
}

/* @work: crypto_aead_encrypt or crypto_aead_decrypt. */
static void run(struct ovpn6_operation *operation, int (*work)(struct aead_request *request))
{
	struct ovpn6_packet packet = operation->packet;
	bool is_async = packet.key->is_async;
	int error;

	if (is_async && !hold_both(&packet)) {
		finish(operation, -ENOENT);
		return;
	}
	error = work(&operation->request);
	/* A request that goes on by itself may be done and gone by now. */
	if (is_async && error == -EINPROGRESS)
		return;
	finish(operation, error);
	if (is_async) {
		ovpn6_key_put(packet.key);
		ovpn6_peer_put(packet.peer);
	}
}

/* Header, payload, tag: the order of AEAD, whatever it is in the packet. */
static int fill(struct ovpn6_operation *operation, struct scatterlist *list, int pieces, int at)
{
	struct sk_buff *skb = operation->packet.skb;
	int mapped;

	sg_init_table(list, pieces + 2);
	sg_set_buf(list, skb->data, OVPN6_HEADER_SIZE);
	mapped = skb_to_sgvec_nomark(skb, list + 1, at, operation->packet.payload);
	if (mapped < 0)
		return mapped;
	if (mapped > pieces)
		return -EINVAL;
	sg_set_buf(list + 1 + mapped, skb->data + OVPN6_HEADER_SIZE, OVPN6_TAG_SIZE);
	sg_mark_end(list + 1 + mapped);
	return 0;
}

static void prepare(struct ovpn6_operation *operation, const struct ovpn6_way *way,
		    struct scatterlist *list, unsigned int length)
{
	struct aead_request *request = &operation->request;

	memcpy(operation->nonce, operation->packet.skb->data + 4, 4);
	memcpy(operation->nonce + 4, way->nonce_tail, OVPN6_NONCE_TAIL);
	aead_request_set_tfm(request, way->aead);
	aead_request_set_callback(request, 0, completed, operation);
	aead_request_set_ad(request, OVPN6_HEADER_SIZE);
	aead_request_set_crypt(request, list, list, length, operation->nonce);
}

static int begin(const struct ovpn6_packet *packet, const struct ovpn6_way *way, int at,
		 unsigned int length, int pieces, ovpn6_done done,
		 struct ovpn6_operation **operation)
{
	struct scatterlist *list;
	int error;

	*operation = operation_new(packet, way->aead, pieces, done);
	if (!*operation)
		return -ENOMEM;
	list = list_of(*operation, way->aead);
	error = fill(*operation, list, pieces, at);
	if (error) {
		kfree(*operation);
		return error;
	}
	prepare(*operation, way, list, length);
	return 0;
}

/**
 * ovpn6_seal - encrypt a payload in its place and put header and tag before it
 * @packet: its skb is the payload alone; @packet_id is the one to use
 * @done: called once, now or later, with the whole packet or an error
 *
 * Under RCU, bottom halves off; so is @done.
 */
void ovpn6_seal(const struct ovpn6_packet *packet, ovpn6_done done)
{
	struct ovpn6_header header = {
		.key_id = packet->key->id,
		.peer_id = READ_ONCE(packet->peer->tx_id),
		.packet_id = packet->packet_id,
	};
	struct sk_buff *skb = packet->skb, *trailer;
	struct ovpn6_operation *operation;
	int pieces, error;

	error = skb_cow_head(skb, OVPN6_OVERHEAD + packet->peer->device->dev->needed_headroom);
	if (error)
		goto failed;
	pieces = skb_cow_data(skb, 0, &trailer);
	if (pieces < 0) {
		error = pieces;
		goto failed;
	}
	__skb_push(skb, OVPN6_OVERHEAD);
	ovpn6_header_encode(header, skb->data);
	error = begin(packet, &packet->key->send, OVPN6_OVERHEAD, packet->payload, pieces, done,
		      &operation);
	if (error)
		goto failed;
	run(operation, crypto_aead_encrypt);
	return;
failed:
	done(packet, error);
}

/**
 * ovpn6_open - check a data packet and decrypt it in its place
 * @packet: its skb begins with the opcode and has a payload
 * @done: called once, now or later: 0 when the packet is authentic, -EBADMSG when it is not
 *
 * Under RCU, bottom halves off; so is @done.
 */
void ovpn6_open(const struct ovpn6_packet *packet, ovpn6_done done)
{
	struct sk_buff *skb = packet->skb, *trailer;
	struct ovpn6_operation *operation;
	int pieces = skb_cow_data(skb, 0, &trailer), error = -ENOMEM;

	if (pieces < 0 || !pskb_may_pull(skb, OVPN6_OVERHEAD))
		goto failed;
	error = begin(packet, &packet->key->receive, OVPN6_OVERHEAD,
		      packet->payload + OVPN6_TAG_SIZE, pieces, done, &operation);
	if (error)
		goto failed;
	run(operation, crypto_aead_decrypt);
	return;
failed:
	done(packet, error);
}
