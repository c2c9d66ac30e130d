/* SPDX-License-Identifier: GPL-2.0-only */
/* Where peers are, and who is where. */
#ifndef OVPN6_BINDING_H
#define OVPN6_BINDING_H

#include <net/dst_cache.h>

#include "endpoint.h"

struct ovpn6_peer;
struct ovpn6_socket;

/**
 * struct ovpn6_binding - where a peer is, and the way there; replaced, never changed
 * @peer: which one
 * @remote: its outer address
 * @local: ours towards it; unspecified leaves it to routing
 * @mark: of the socket when this was made
 * @device: that the socket was bound to then, 0 for none
 * @cache: the route
 * @place: in the device's table
 * @rcu: frees it behind its last reader
 */
struct ovpn6_binding {
	struct ovpn6_peer *peer;
	struct ovpn6_endpoint remote;
	struct in6_addr local;
	u32 mark;
	int device;
	struct dst_cache cache;
	struct hlist_node place;
	struct rcu_head rcu;
};

struct ovpn6_binding *ovpn6_binding_new(struct ovpn6_peer *peer,
					const struct ovpn6_endpoint *remote,
					const struct in6_addr *local, gfp_t flags);
void ovpn6_binding_drop(struct ovpn6_binding *binding);
void ovpn6_binding_show(struct ovpn6_peer *peer);
void ovpn6_binding_hide(struct ovpn6_peer *peer);
void ovpn6_peer_bind(struct ovpn6_peer *peer, struct ovpn6_binding *binding);
void ovpn6_peer_rebind(struct ovpn6_peer *peer, struct ovpn6_binding *former,
		       struct ovpn6_binding *binding);
int ovpn6_peer_set_binding(struct ovpn6_peer *peer, const struct ovpn6_endpoint *remote,
			   const struct in6_addr *local, gfp_t flags);
struct ovpn6_peer *ovpn6_peer_at(const struct ovpn6_socket *socket,
				 const struct ovpn6_endpoint *remote);

#endif
