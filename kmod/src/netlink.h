/* SPDX-License-Identifier: GPL-2.0-only */
/* Requests of user space. */
#ifndef OVPN6_NETLINK_EDGE_H
#define OVPN6_NETLINK_EDGE_H

#include <net/genetlink.h>

#include "device.h"

struct ovpn6_key;
struct ovpn6_peer;

/**
 * struct ovpn6_request - a request about one device
 * @device: its lock held
 * @nest: attributes of its one nest, by number
 * @extack: what is wrong
 * @info: the request itself
 * @message: that it came in, and so whose it is
 * @key: what an order for a key made before the device was locked: a cipher may have to be loaded.
 *	Who takes it sets NULL
 */
struct ovpn6_request {
	struct ovpn6_device *device;
	struct nlattr *nest[OVPN6_A_PEER_MAX + 1];
	struct netlink_ext_ack *extack;
	struct genl_info *info;
	struct sk_buff *message;
	struct ovpn6_key *key;
};

typedef int (*ovpn6_handler)(struct ovpn6_request *request);

int ovpn6_handle_peer_new(struct ovpn6_request *request);
int ovpn6_handle_peer_set(struct ovpn6_request *request);
int ovpn6_handle_peer_get(struct ovpn6_request *request);
int ovpn6_handle_peer_del(struct ovpn6_request *request);
int ovpn6_prepare_key_new(struct ovpn6_request *request);
int ovpn6_handle_key_new(struct ovpn6_request *request);
int ovpn6_handle_key_get(struct ovpn6_request *request);
int ovpn6_handle_key_swap(struct ovpn6_request *request);
int ovpn6_handle_key_del(struct ovpn6_request *request);
int ovpn6_handle_prefix_new(struct ovpn6_request *request);
int ovpn6_handle_prefix_del(struct ovpn6_request *request);
int ovpn6_put_peer(struct sk_buff *message, const struct ovpn6_peer *peer, struct net *net);
int ovpn6_peer_put_all(struct sk_buff *message, struct netlink_callback *cb,
		       struct ovpn6_device *device);
int ovpn6_prefix_put_all(struct sk_buff *message, struct netlink_callback *cb,
			 struct ovpn6_device *device);

void ovpn6_netlink_fill_family(struct genl_family *family, const char *name, bool is_own);

#endif
