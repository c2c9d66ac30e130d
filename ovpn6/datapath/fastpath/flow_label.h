/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flow label of outer IPv6 packets, by the flow of the inner one (RFC 6438 3, RFC 6437 3).
 *
 * So routers spread a tunnel's flows over equal paths, and each flow stays on its own. The Python
 * twin is ovpn6/datapath/offload/flow_label.py.
 */
#ifndef OVPN6_FLOW_LABEL_H
#define OVPN6_FLOW_LABEL_H

#include <stddef.h>
#include <stdint.h>

#define OVPN6_FLOW_SECRET 16

/**
 * ovpn6_flow_label() - 1 to 0xfffff, the same for all packets of a flow
 * @secret: OVPN6_FLOW_SECRET octets: who does not know them can predict no label
 * @packet: an IPv4 packet of at least 20 octets or an IPv6 one of at least 40
 * @length: its octets
 *
 * A flow is the pair of addresses and: the label of the inner packet where it has one; else the
 * protocol, and the ports where they stand right behind the IP header and the packet is no
 * fragment, as only the first fragment has them.
 */
uint32_t ovpn6_flow_label(const uint8_t *secret, const uint8_t *packet, size_t length);

/**
 * ovpn6_siphash() - SipHash-2-4 (Aumasson and Bernstein, 2012)
 */
uint64_t ovpn6_siphash(const uint8_t *secret, const uint8_t *data, size_t length);

#endif
