/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From one read of a TUN with vnet headers to ordinary packets with whole checksums.
 *
 *	struct ovpn6_cutter cut;
 *	int error = ovpn6_cut_begin(&cut, &vnet, packet, length);
 *	...				(negative: drop and count)
 *	while (ovpn6_cut_next(&cut, &segment, &size))
 *		seal segment, size into the train;
 *
 * Each segment's headers are written right before its payload, inside the caller's buffer, over
 * the end of the segment before. So a segment must have been used up (sealed into another buffer)
 * before the next is asked for. What came whole stays where it is.
 *
 * All segments have cut.full octets but the last, which may have fewer: they make one UDP_SEGMENT
 * train once each is sealed. The Python twin is ovpn6/datapath/offload/segment.py.
 */
#ifndef OVPN6_SEGMENT_H
#define OVPN6_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vnet.h"

#define OVPN6_MAX_HEADERS 256

/* Why a packet cannot be cut: what the kernel says about it does not fit what it holds. */
enum ovpn6_cut_error {
	OVPN6_CUT_NOT_IP = -1,
	OVPN6_CUT_CSUM_RANGE = -2,
	OVPN6_CUT_GSO_TYPE = -3,
	OVPN6_CUT_GSO_SIZE = -4,	/* zero, or a packet above 65,535 octets */
	OVPN6_CUT_HEADERS = -5,
};

/**
 * struct ovpn6_cutter - one packet being cut
 * @count: how many segments there are, at least 1
 * @full: octets of each segment but the last, headers included
 *
 * The rest is for segment.c alone.
 */
struct ovpn6_cutter {
	uint32_t count;
	uint32_t full;

	uint32_t next;
	uint8_t *packet;
	size_t length;
	uint32_t size;
	uint16_t transport;
	uint16_t headers;
	uint8_t protocol;
	uint64_t pseudo;
	uint8_t template[OVPN6_MAX_HEADERS];
};

/**
 * ovpn6_cut_begin() - look at one packet from a TUN
 * @vnet: its vnet header
 * @packet: the IP packet, without the vnet header; changed
 * @length: its octets
 *
 * Return: 0, or an ovpn6_cut_error with nothing changed.
 */
int ovpn6_cut_begin(struct ovpn6_cutter *cut, const struct ovpn6_vnet *vnet, uint8_t *packet,
		    size_t length);

/**
 * ovpn6_cut_next() - make the next segment
 * @segment: where it begins, inside the packet's buffer
 * @length: its octets
 *
 * Return: false when all were made.
 */
bool ovpn6_cut_next(struct ovpn6_cutter *cut, uint8_t **segment, size_t *length);

#endif
