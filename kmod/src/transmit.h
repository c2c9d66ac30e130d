/* SPDX-License-Identifier: GPL-2.0-only */
/* Inner packets on their way to peers. */
#ifndef OVPN6_TRANSMIT_H
#define OVPN6_TRANSMIT_H

#include <linux/netdevice.h>

struct ovpn6_peer;

netdev_tx_t ovpn6_transmit(struct sk_buff *skb, struct net_device *dev);
void ovpn6_send_ping(struct ovpn6_peer *peer);

#endif
