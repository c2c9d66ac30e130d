/* SPDX-License-Identifier: GPL-2.0-only */
/* Pings to silent peers, and an end to those that are silent too long. */
#ifndef OVPN6_KEEPALIVE_H
#define OVPN6_KEEPALIVE_H

#include <linux/types.h>

struct ovpn6_peer;

void ovpn6_keepalive_init(struct ovpn6_peer *peer);
void ovpn6_keepalive_set(struct ovpn6_peer *peer, u32 interval, u32 timeout);
void ovpn6_keepalive_stop(struct ovpn6_peer *peer);
int ovpn6_keepalive_start(void);
void ovpn6_keepalive_end(void);

#endif
