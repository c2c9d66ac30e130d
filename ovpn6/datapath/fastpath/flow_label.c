/* SPDX-License-Identifier: Apache-2.0 */
#include "flow_label.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <string.h>

#define LABEL_BITS 20
#define LABEL_MOST ((1u << LABEL_BITS) - 1)
#define DCCP 33
#define UDP_LITE 136
/* Both addresses, the label, the protocol, the ports. */
#define FLOW_MOST (32 + 4 + 1 + 4)

static uint64_t rotated(uint64_t value, int bits)
{
	return value << bits | value >> (64 - bits);
}

static void rounds(uint64_t v[4], int count)
{
	while (count-- > 0) {
		v[0] += v[1];
		v[2] += v[3];
		v[1] = rotated(v[1], 13) ^ v[0];
		v[3] = rotated(v[3], 16) ^ v[2];
		v[0] = rotated(v[0], 32);
		v[2] += v[1];
		v[0] += v[3];
		v[1] = rotated(v[1], 17) ^ v[2];
		v[3] = rotated(v[3], 21) ^ v[0];
		v[2] = rotated(v[2], 32);
	}
}

/* Little-endian, of at most 8 octets. */
static uint64_t number(const uint8_t *at, size_t size)
{
	uint64_t value = 0;

	while (size-- > 0)
		value = value << 8 | at[size];
	return value;
}

static void absorb(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	rounds(v, 2);
	v[0] ^= word;
}

uint64_t ovpn6_siphash(const uint8_t *secret, const uint8_t *data, size_t length)
{
	uint64_t low = number(secret, 8), high = number(secret + 8, 8);
	uint64_t v[4] = {
		low ^ 0x736f6d6570736575ull,
		high ^ 0x646f72616e646f6dull,
		low ^ 0x6c7967656e657261ull,
		high ^ 0x7465646279746573ull,
	};
	size_t at = 0;

	for (; length - at >= 8; at += 8)
		absorb(v, number(data + at, 8));
	absorb(v, (uint64_t)length << 56 | number(data + at, length - at));
	v[2] ^= 0xff;
	rounds(v, 4);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static bool has_ports(uint8_t protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP ||
	       protocol == DCCP || protocol == UDP_LITE;
}

static size_t add(uint8_t *flow, size_t used, const uint8_t *octets, size_t size)
{
	memcpy(flow + used, octets, size);
	return used + size;
}

static size_t flow_of(const uint8_t *packet, size_t length, uint8_t *flow)
{
	bool v6 = packet[0] >> 4 == 6, whole = v6;
	size_t header = 40, used;
	uint8_t protocol = packet[v6 ? 6 : 9];

	if (v6) {
		const uint8_t label[3] = { packet[1] & 0x0f, packet[2], packet[3] };

		used = add(flow, 0, packet + 8, 32);
		if (label[0] | label[1] | label[2])
			return add(flow, used, label, sizeof(label));
	} else {
		header = 4 * (size_t)(packet[0] & 15);
		whole = header >= 20 && !((packet[6] & 0x3f) | packet[7]);
		used = add(flow, 0, packet + 12, 8);
	}
	used = add(flow, used, &protocol, 1);
	if (whole && has_ports(protocol) && length >= header + 4)
		used = add(flow, used, packet + header, 4);
	return used;
}

uint32_t ovpn6_flow_label(const uint8_t *secret, const uint8_t *packet, size_t length)
{
	uint8_t flow[FLOW_MOST];
	size_t size = flow_of(packet, length, flow);
	uint32_t label = (uint32_t)(ovpn6_siphash(secret, flow, size) >> (64 - LABEL_BITS));

	/* Zero says that there is none. */
	return label == 0 ? LABEL_MOST : label;
}
