/* SPDX-License-Identifier: GPL-2.0-only */
/* Data packets on their way in. */
#ifndef OVPN6_RECEIVE_H
#define OVPN6_RECEIVE_H

#include <linux/skbuff.h>
#include <net/sock.h>

int ovpn6_receive(struct sock *sk, struct sk_buff *skb);

#endif
