/* SPDX-License-Identifier: GPL-2.0-only */
/* User space's sockets that carry data packets of ours. */
#ifndef OVPN6_SOCKET_H
#define OVPN6_SOCKET_H

#include <linux/netlink.h>
#include <linux/refcount.h>
#include <net/sock.h>

#include "device.h"

/**
 * struct ovpn6_socket - a transport of some peers of one device
 * @sk: held; never its struct socket, which may go before it
 * @device: held
 * @peers: on it, under the device's lock. The last one that goes detaches the socket
 * @refs: of its peers until they are freed, and of who looks at it
 * @rcu: frees it behind its last reader
 */
struct ovpn6_socket {
	struct sock *sk;
	struct ovpn6_device *device;
	struct list_head peers;
	refcount_t refs;
	struct rcu_head rcu;
};

struct ovpn6_socket *ovpn6_socket_attach(struct ovpn6_device *device, struct sock *sk,
					 struct netlink_ext_ack *extack);
void ovpn6_socket_release_idle(struct ovpn6_socket *socket);
void ovpn6_socket_put(struct ovpn6_socket *socket);
struct ovpn6_socket *ovpn6_socket_of(struct sock *sk);

#endif
