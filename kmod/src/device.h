/* SPDX-License-Identifier: GPL-2.0-only */
/* A network device, and the two names under which the module is spoken to. */
#ifndef OVPN6_DEVICE_H
#define OVPN6_DEVICE_H

#include <linux/hashtable.h>
#include <linux/mutex.h>
#include <linux/xarray.h>
#include <net/genetlink.h>
#include <net/gro_cells.h>
#include <net/rtnetlink.h>

#include "ovpn6_netlink.h"
#include "prefix.h"

struct ovpn6_peer;

/* Places in the table of where peers are: a few thousand peers make short lists. */
#define OVPN6_PLACES_BITS 10

/**
 * struct ovpn6_face - a link kind with the netlink family that its devices are ordered by
 * @link: the kind
 * @family: the family
 * @is_registered: the compatible one may not be
 */
struct ovpn6_face {
	struct rtnl_link_ops link;
	struct genl_family family;
	bool is_registered;
};

/**
 * struct ovpn6_device - what a network device has of ours
 * @dev: the network device
 * @mode: one peer that gets everything, or many
 * @lock: held by whoever changes @peers, @only, @prefixes, @is_dying, @network_changes or a peer of
 *	the device.
 *	Order: RTNL, this, a socket's lock, a peer's lock, @places_lock
 * @is_dying: no peer may be added any more
 * @peers: by id
 * @only: the peer of a device for one
 * @places: bindings by where they are, of a device for many
 * @places_lock: held by whoever changes @places
 * @place_seed: nobody can choose addresses that meet in one place
 * @prefixes: from inner addresses to peers, IPv4 and IPv6, of a device for many
 * @network_changes: how often networks behind peers came and went, from 1 on
 * @gro_cells: what received packets are merged in
 */
struct ovpn6_device {
	struct net_device *dev;
	enum ovpn6_mode mode;
	struct mutex lock;
	bool is_dying;
	struct xarray peers;
	struct ovpn6_peer __rcu *only;
	DECLARE_HASHTABLE(places, OVPN6_PLACES_BITS);
	spinlock_t places_lock;
	u32 place_seed;
	struct ovpn6_prefixes prefixes[2];
	u32 network_changes;
	struct gro_cells gro_cells;
};

extern struct ovpn6_face ovpn6_faces[2];

void ovpn6_device_fill_kind(struct rtnl_link_ops *link, const char *kind);
bool ovpn6_device_is_ours(const struct net_device *dev);

static inline struct ovpn6_face *ovpn6_device_face(const struct ovpn6_device *device)
{
	return &ovpn6_faces[device->dev->rtnl_link_ops == &ovpn6_faces[1].link];
}

#endif
