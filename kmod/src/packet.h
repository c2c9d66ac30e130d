/* SPDX-License-Identifier: GPL-2.0-only */
/* How data packets look, outside and inside. Pure. */
#ifndef OVPN6_PACKET_H
#define OVPN6_PACKET_H

#include "pure.h"

/* | opcode, key id (1) | peer id (3) | packet id (4) | tag (16) | ciphertext |; 8 authenticated. */
#define OVPN6_HEADER_SIZE 8
#define OVPN6_TAG_SIZE 16
#define OVPN6_OVERHEAD (OVPN6_HEADER_SIZE + OVPN6_TAG_SIZE)
#define OVPN6_NONCE_SIZE 12
#define OVPN6_DATA_V1 6
#define OVPN6_DATA_V2 9
#define OVPN6_PING_SIZE 16
#define OVPN6_LAST_PACKET_ID 0xffffffffU

/* The payload that only says "I am here". */
extern const u8 ovpn6_ping[OVPN6_PING_SIZE];

/* Whose a datagram is. */
enum ovpn6_verdict {
	OVPN6_OURS,
	OVPN6_NOT_OURS,
	OVPN6_REFUSED,
};

/**
 * struct ovpn6_header - the authenticated beginning of a data packet
 * @key_id: 0 to 7
 * @peer_id: 0 to 0xffffff; the last one stands for a peer without an id
 * @packet_id: 0 is never valid
 */
struct ovpn6_header {
	u8 key_id;
	u32 peer_id;
	u32 packet_id;
};

/**
 * ovpn6_verdict_of - by its first byte: is a datagram for the data path?
 * @first: opcode in the upper five bits
 * @length: of the whole datagram
 *
 * Data of version 1 has no peer id and is never offered to the kernel. A data packet has a payload.
 */
static inline enum ovpn6_verdict ovpn6_verdict_of(u8 first, size_t length)
{
	switch (first >> 3) {
	case OVPN6_DATA_V2:
		return length > OVPN6_OVERHEAD ? OVPN6_OURS : OVPN6_REFUSED;
	case OVPN6_DATA_V1:
		return OVPN6_REFUSED;
	default:
		return OVPN6_NOT_OURS;
	}
}

/* Of at least OVPN6_HEADER_SIZE bytes. */
static inline struct ovpn6_header ovpn6_header_decode(const u8 *data)
{
	return (struct ovpn6_header){
		.key_id = data[0] & 7,
		.peer_id = (u32)data[1] << 16 | (u32)data[2] << 8 | data[3],
		.packet_id = (u32)data[4] << 24 | (u32)data[5] << 16 | (u32)data[6] << 8 | data[7],
	};
}

/* Into OVPN6_HEADER_SIZE bytes. */
static inline void ovpn6_header_encode(struct ovpn6_header header, u8 *data)
{
	data[0] = (u8)(OVPN6_DATA_V2 << 3 | (header.key_id & 7));
	data[1] = (u8)(header.peer_id >> 16);
	data[2] = (u8)(header.peer_id >> 8);
	data[3] = (u8)header.peer_id;
	data[4] = (u8)(header.packet_id >> 24);
	data[5] = (u8)(header.packet_id >> 16);
	data[6] = (u8)(header.packet_id >> 8);
	data[7] = (u8)header.packet_id;
}

/**
 * ovpn6_ip_version - is it an inner packet, and of which family?
 * @data: its first bytes
 * @length: how many are there
 *
 * Return: 4 or 6 when its whole fixed header is there, else 0.
 */
static inline unsigned int ovpn6_ip_version(const u8 *data, size_t length)
{
	if (length >= 20 && data[0] >> 4 == 4 && (data[0] & 15) >= 5)
		return 4;
	if (length >= 40 && data[0] >> 4 == 6)
		return 6;
	return 0;
}

#endif
