/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Congestion marks across the tunnel (RFC 6040) and the traffic class of inner packets.
 *
 * A traffic class (IPv6) or TOS octet (IPv4) is six bits of DSCP and two of ECN. The Python twin
 * is ovpn6/datapath/offload/ecn.py.
 */
#ifndef OVPN6_ECN_H
#define OVPN6_ECN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OVPN6_ECN_MASK 3
#define OVPN6_NOT_ECT 0
#define OVPN6_ECT1 1
#define OVPN6_ECT0 2
#define OVPN6_CE 3

/**
 * ovpn6_traffic_class() - of an IPv4 or IPv6 packet of at least 2 octets
 */
uint8_t ovpn6_traffic_class(const uint8_t *packet);

/**
 * ovpn6_set_traffic_class() - write it into an IPv4 packet of at least 20 octets or an IPv6 one
 *
 * The checksum of an IPv4 header is updated (RFC 1624): a wrong one stays wrong.
 */
void ovpn6_set_traffic_class(uint8_t *packet, uint8_t traffic_class);

/**
 * ovpn6_outer_class() - the traffic class of an outer packet, at the ingress (RFC 6040 4.1)
 * @inner: traffic class of the inner packet
 * @copy_ecn: normal mode, for a peer that is known to propagate marks; else compatibility mode,
 *	which sends Not-ECT
 * @copy_dscp: passtos
 */
uint8_t ovpn6_outer_class(uint8_t inner, bool copy_ecn, bool copy_dscp);

/**
 * ovpn6_inner_ecn() - the ECN field at the egress (RFC 6040 4.2, figure 4)
 *
 * Return: 0 to 3, or -1 when the packet must be dropped: congestion was met by one that does not
 * know of marks.
 */
int ovpn6_inner_ecn(uint8_t inner, uint8_t outer);

/**
 * ovpn6_ecn_deliver() - let an inner packet carry what its outer one met
 * @packet: a whole IPv4 or IPv6 header; changed only when its mark changes
 * @outer: traffic class of the outer packet
 *
 * Return: false when the packet must be dropped.
 */
bool ovpn6_ecn_deliver(uint8_t *packet, uint8_t outer);

#endif
