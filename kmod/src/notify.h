/* SPDX-License-Identifier: GPL-2.0-only */
/* What user space is told without having asked. */
#ifndef OVPN6_NOTIFY_H
#define OVPN6_NOTIFY_H

#include "endpoint.h"
#include "ovpn6_netlink.h"

struct ovpn6_key;
struct ovpn6_peer;

void ovpn6_notify_deleted(struct ovpn6_peer *peer, enum ovpn6_delete_reason reason);
void ovpn6_notify_floated(struct ovpn6_peer *peer, const struct ovpn6_endpoint *remote);
void ovpn6_notify_key_used_up(struct ovpn6_peer *peer, const struct ovpn6_key *key);

#endif
