/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The header before each packet on a TUN descriptor with IFF_VNET_HDR: struct virtio_net_hdr of
 * linux/virtio_net.h, in host byte order, without num_buffers. Here because the headers of Debian
 * 12 do not know UDP segmentation yet.
 */
#ifndef OVPN6_VNET_H
#define OVPN6_VNET_H

#include <stdint.h>

#define OVPN6_VNET_NEEDS_CSUM 1

#define OVPN6_GSO_NONE 0
#define OVPN6_GSO_TCPV4 1
#define OVPN6_GSO_TCPV6 4
#define OVPN6_GSO_UDP_L4 5
#define OVPN6_GSO_ECN 0x80

/**
 * struct ovpn6_vnet - what is to be done to a packet, or was done
 * @flags: OVPN6_VNET_NEEDS_CSUM: the sum from @csum_start to the end is to be added
 * @gso_type: OVPN6_GSO_*: a super-packet, to be cut
 * @hdr_len: octets of headers; a hint, not to be trusted
 * @gso_size: payload octets of each segment but the last
 * @csum_start: offset of the transport header in the packet
 * @csum_offset: offset of the checksum after @csum_start; it holds the sum of the pseudo-header
 */
struct ovpn6_vnet {
	uint8_t flags;
	uint8_t gso_type;
	uint16_t hdr_len;
	uint16_t gso_size;
	uint16_t csum_start;
	uint16_t csum_offset;
};

#define OVPN6_VNET_SIZE 10

_Static_assert(sizeof(struct ovpn6_vnet) == OVPN6_VNET_SIZE, "struct virtio_net_hdr has 10 octets");

#endif
