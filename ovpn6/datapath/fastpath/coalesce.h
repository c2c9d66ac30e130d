/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From authentic inner packets to few writes into a TUN with vnet headers.
 *
 *	ovpn6_merge_init(&merger, write, context, udp);
 *	for each opened packet, whose source address was checked:
 *		ovpn6_merge_feed(&merger, packet, length);
 *	ovpn6_merge_flush(&merger);	(when the sockets are empty or the arena is full)
 *
 * Consecutive segments of one TCP flow become one super-packet, and datagrams of equal size of
 * one UDP flow. Merged are only packets whose checksums were verified here and that who cuts the
 * super-packet again makes anew (but for the IPv4 id where DF is set: it means nothing there, RFC
 * 6864). So corruption is never laundered. Everything else is written as it came. The order within
 * a flow is kept, that between TCP and UDP flows is not; all other packets keep their place.
 *
 * No packet is copied: its octets must stay where they are until the next ovpn6_merge_flush(),
 * and the headers of a flow's first packet are changed. Packets of any number of peers may be fed.
 * The Python twin is ovpn6/datapath/offload/coalesce.py.
 */
#ifndef OVPN6_COALESCE_H
#define OVPN6_COALESCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vnet.h"

#define OVPN6_MERGE_FLOWS 16
#define OVPN6_MERGE_SEGMENTS 64

/**
 * ovpn6_merge_write - take one packet for the TUN
 * @context: as given to ovpn6_merge_init()
 * @parts: a vnet header and the packet; valid during the call
 * @count: of @parts, at most 1 + OVPN6_MERGE_SEGMENTS
 * @packets: how many fed packets are in it
 */
typedef void ovpn6_merge_write(void *context, const struct iovec *parts, int count,
			       unsigned int packets);

/**
 * struct ovpn6_merge_flow - a packet that waits for more of its kind
 *
 * For coalesce.c alone.
 */
struct ovpn6_merge_flow {
	uint8_t *packet;
	uint32_t length;
	uint32_t next_seq;
	uint16_t next_id;
	uint16_t transport;
	uint16_t headers;
	uint16_t size;
	uint8_t protocol;
	bool verified;
	unsigned int count;
	struct ovpn6_vnet vnet;
	struct iovec parts[1 + OVPN6_MERGE_SEGMENTS];
};

/**
 * struct ovpn6_merger - the flows of one worker
 *
 * About 18 KB, owned by the caller. For coalesce.c alone.
 */
struct ovpn6_merger {
	ovpn6_merge_write *write;
	void *context;
	bool udp;
	unsigned int used;
	uint8_t order[OVPN6_MERGE_FLOWS];
	struct ovpn6_merge_flow flows[OVPN6_MERGE_FLOWS];
};

/**
 * ovpn6_merge_init() - nothing waits
 * @write: called from ovpn6_merge_feed() and ovpn6_merge_flush()
 * @udp: the TUN takes OVPN6_GSO_UDP_L4 (TUN_F_USO4 and TUN_F_USO6 were accepted)
 */
void ovpn6_merge_init(struct ovpn6_merger *merger, ovpn6_merge_write *write, void *context,
		      bool udp);

/**
 * ovpn6_merge_feed() - one inner packet
 * @packet: whole, stays until the next flush; may be changed
 * @length: its octets, at most 65,535
 */
void ovpn6_merge_feed(struct ovpn6_merger *merger, uint8_t *packet, size_t length);

/**
 * ovpn6_merge_flush() - write what waits, the oldest flow first
 */
void ovpn6_merge_flush(struct ovpn6_merger *merger);

#endif
