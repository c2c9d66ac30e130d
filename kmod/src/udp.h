/* SPDX-License-Identifier: GPL-2.0-only */
/* Data packets on their way out. */
#ifndef OVPN6_UDP_H
#define OVPN6_UDP_H

#include <linux/skbuff.h>

struct ovpn6_peer;

void ovpn6_udp_send(struct ovpn6_peer *peer, struct sk_buff *skb);

#endif
