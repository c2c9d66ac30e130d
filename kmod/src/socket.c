// SPDX-License-Identifier: GPL-2.0-only
/*
 * A socket stays user space's: what is no data packet of ours goes on to it. It is known as ours by
 * the function that gets its packets, for others put their own things into sk_user_data.
 */

#include "socket.h"

#include <linux/udp.h>

#include "compat.h"
#include "peer.h"
#include "receive.h"

/* A number of our own, which no one else looks for. */
#define OVPN6_UDP_ENCAP 96

/**
 * ovpn6_socket_of - what a socket has of ours
 * @sk: the socket
 *
 * Under RCU. Return: NULL when it is not ours, or not any more.
 */
struct ovpn6_socket *ovpn6_socket_of(struct sock *sk)
{
	if (READ_ONCE(udp_sk(sk)->encap_rcv) != ovpn6_receive)
		return NULL;
	return rcu_dereference_sk_user_data(sk);
}

static void socket_closed(struct sock *sk)
{
	struct ovpn6_socket *socket;
	struct ovpn6_peer *peer, *next;

	/* Ours, whatever user space has put in the place of the function for its packets. */
	rcu_read_lock();
	socket = rcu_dereference_sk_user_data(sk);
	if (socket && !refcount_inc_not_zero(&socket->refs))
		socket = NULL;
	rcu_read_unlock();
	if (!socket)
		return;
	mutex_lock(&socket->device->lock);
	list_for_each_entry_safe(peer, next, &socket->peers, on_socket) {
		ovpn6_peer_remove(peer, OVPN6_DEL_TRANSPORT_DISCONNECT);
		cond_resched();
	}
	mutex_unlock(&socket->device->lock);
	ovpn6_socket_put(socket);
}

static void socket_free(struct rcu_head *rcu)
{
	struct ovpn6_socket *socket = container_of(rcu, struct ovpn6_socket, rcu);

	sock_put(socket->sk);
	dev_put(socket->device->dev);
	kfree(socket);
}

/**
 * ovpn6_socket_put - one reference less
 * @socket: detached before the last one
 */
void ovpn6_socket_put(struct ovpn6_socket *socket)
{
	if (refcount_dec_and_test(&socket->refs))
		call_rcu(&socket->rcu, socket_free);
}

static int may_attach(struct sock *sk, struct netlink_ext_ack *extack)
{
	if (sk->sk_family != AF_INET && sk->sk_family != AF_INET6) {
		NL_SET_ERR_MSG(extack, "peer socket is neither of IPv4 nor of IPv6");
		return -EINVAL;
	}
	if (sk->sk_protocol == IPPROTO_TCP) {
		NL_SET_ERR_MSG(extack, "this module does not carry data over TCP yet");
		return -EOPNOTSUPP;
	}
	if (sk->sk_protocol != IPPROTO_UDP || sk->sk_type != SOCK_DGRAM) {
		NL_SET_ERR_MSG(extack, "peer socket is not UDP");
		return -EPROTONOSUPPORT;
	}
	return 0;
}

static struct ovpn6_socket *attach_new(struct ovpn6_device *device, struct sock *sk)
{
	struct ovpn6_socket *socket = kzalloc(sizeof(*socket), GFP_KERNEL_ACCOUNT);
	struct udp_tunnel_sock_cfg setup = {
		.sk_user_data = socket,
		.encap_type = OVPN6_UDP_ENCAP,
		.encap_rcv = ovpn6_receive,
		.encap_destroy = socket_closed,
	};

	if (!socket)
		return ERR_PTR(-ENOMEM);
	socket->sk = sk;
	sock_hold(sk);
	socket->device = device;
	dev_hold(device->dev);
	INIT_LIST_HEAD(&socket->peers);
	refcount_set(&socket->refs, 1);
	ovpn6_setup_udp(sk, &setup);
	return socket;
}

/**
 * ovpn6_socket_attach - a socket carries one more peer
 * @device: of the peer, the lock held
 * @sk: from a file descriptor that is held meanwhile
 * @extack: what is wrong
 *
 * Return: the socket with a reference, or an error: -EBUSY when it is somebody else's.
 */
struct ovpn6_socket *ovpn6_socket_attach(struct ovpn6_device *device, struct sock *sk,
					 struct netlink_ext_ack *extack)
{
	struct ovpn6_socket *socket;
	int error = may_attach(sk, extack);

	if (error)
		return ERR_PTR(error);
	lock_sock(sk);
	rcu_read_lock();
	socket = ovpn6_socket_of(sk);
	if (socket && socket->device == device && refcount_inc_not_zero(&socket->refs)) {
		rcu_read_unlock();
		goto out;
	}
	rcu_read_unlock();
	if (socket || udp_sk(sk)->encap_type || READ_ONCE(sk->sk_user_data)) {
		NL_SET_ERR_MSG(extack, "peer socket is in use by another device or for something else");
		socket = ERR_PTR(-EBUSY);
	} else {
		socket = attach_new(device, sk);
	}
out:
	release_sock(sk);
	return socket;
}

/**
 * ovpn6_socket_release_idle - give a socket back to user space when no peer is on it
 * @socket: its device's lock held
 */
void ovpn6_socket_release_idle(struct ovpn6_socket *socket)
{
	struct udp_tunnel_sock_cfg nothing = {};
	struct sock *sk = socket->sk;

	if (!list_empty(&socket->peers))
		return;
	lock_sock(sk);
	if (READ_ONCE(sk->sk_user_data) == socket)
		ovpn6_setup_udp(sk, &nothing);
	release_sock(sk);
}
