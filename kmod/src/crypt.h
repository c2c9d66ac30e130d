/* SPDX-License-Identifier: GPL-2.0-only */
/* Sealing and opening data packets. */
#ifndef OVPN6_CRYPT_H
#define OVPN6_CRYPT_H

#include <linux/skbuff.h>

#include "endpoint.h"
#include "packet.h"

struct ovpn6_key;
struct ovpn6_operation;
struct ovpn6_peer;

/**
 * struct ovpn6_packet - what is known of a packet while a cipher works on it
 * @peer: whose
 * @key: under which
 * @skb: the packet
 * @from: where a received one came from
 * @to: which address of ours it came to
 * @payload: length of what is inside
 * @packet_id: of a received one
 */
struct ovpn6_packet {
	struct ovpn6_peer *peer;
	struct ovpn6_key *key;
	struct sk_buff *skb;
	struct ovpn6_endpoint from;
	struct in6_addr to;
	unsigned int payload;
	u32 packet_id;
};

typedef void (*ovpn6_done)(const struct ovpn6_packet *packet, int error);

void ovpn6_seal(const struct ovpn6_packet *packet, ovpn6_done done);
void ovpn6_open(const struct ovpn6_packet *packet, ovpn6_done done);

#endif
