// SPDX-License-Identifier: GPL-2.0-only
/*
 * Outer packets: the way to a peer, kept with its binding, and the headers. The socket's mark and
 * the device it is bound to are heeded, as for packets that user space sends.
 */

#include "udp.h"

#include <net/addrconf.h>
#include <net/ip.h>
#include <net/ip6_route.h>
#include <net/route.h>
#include <net/udp.h>

#include "compat.h"
#include "peer.h"
#include "socket.h"

static struct rtable *route4(struct ovpn6_binding *binding, struct sock *sk, struct flowi4 *flow)
{
	struct rtable *route = dst_cache_get_ip4(&binding->cache, &flow->saddr);

	if (route)
		return route;
	flow->saddr = ovpn6_ipv4_of(&binding->local);
	route = ip_route_output_flow(sock_net(sk), flow, sk);
	if (IS_ERR(route) && flow->saddr) {
		/* The address that packets came to is gone. */
		flow->saddr = 0;
		route = ip_route_output_flow(sock_net(sk), flow, sk);
	}
	if (!IS_ERR(route))
		dst_cache_set_ip4(&binding->cache, &route->dst, flow->saddr);
	return route;
}

static int send4(struct ovpn6_peer *peer, struct ovpn6_binding *binding, struct sk_buff *skb)
{
	struct sock *sk = peer->socket->sk;
	struct flowi4 flow = {
		.daddr = ovpn6_ipv4_of(&binding->remote.address),
		.fl4_sport = inet_sk(sk)->inet_sport,
		.fl4_dport = binding->remote.port,
		.flowi4_proto = IPPROTO_UDP,
		.flowi4_mark = binding->mark,
		.flowi4_oif = binding->device,
	};
	struct rtable *route = route4(binding, sk, &flow);

	if (IS_ERR(route))
		return PTR_ERR(route);
	if (route->dst.dev == peer->device->dev) {
		ip_rt_put(route);
		return -ELOOP;
	}
	udp_tunnel_xmit_skb(route, sk, skb, flow.saddr, flow.daddr, 0, ip4_dst_hoplimit(&route->dst),
			    0, flow.fl4_sport, flow.fl4_dport, false, sk->sk_no_check_tx
			    OVPN6_NO_FLAGS);
	return 0;
}

#if IS_ENABLED(CONFIG_IPV6)
static bool is_local6(struct sock *sk, const struct in6_addr *address)
{
	return ipv6_chk_addr(sock_net(sk), address, NULL, 0) ||
	       ipv6_can_nonlocal_bind(sock_net(sk), inet_sk(sk));
}

static struct dst_entry *route6(struct ovpn6_binding *binding, struct sock *sk,
				struct flowi6 *flow)
{
	struct dst_entry *route = dst_cache_get_ip6(&binding->cache, &flow->saddr);

	if (route)
		return route;
	/* An address that packets came to may be gone, or have been a group's. */
	flow->saddr = is_local6(sk, &binding->local) ? binding->local : in6addr_any;
	route = ip6_dst_lookup_flow(sock_net(sk), sk, flow, NULL);
	if (!IS_ERR(route))
		dst_cache_set_ip6(&binding->cache, route, &flow->saddr);
	return route;
}

static int send6(struct ovpn6_peer *peer, struct ovpn6_binding *binding, struct sk_buff *skb)
{
	struct sock *sk = peer->socket->sk;
	struct flowi6 flow = {
		.daddr = binding->remote.address,
		.fl6_sport = inet_sk(sk)->inet_sport,
		.fl6_dport = binding->remote.port,
		.flowi6_proto = IPPROTO_UDP,
		.flowi6_mark = binding->mark,
		.flowi6_oif = binding->remote.scope ?: binding->device,
	};
	struct dst_entry *route;

	/* It was when the peer was bound to it. */
	if (READ_ONCE(sk->sk_family) != AF_INET6)
		return -EAFNOSUPPORT;
	route = route6(binding, sk, &flow);
	if (IS_ERR(route))
		return PTR_ERR(route);
	if (route->dev == peer->device->dev) {
		dst_release(route);
		return -ELOOP;
	}
	/* Fragments of our own where the path is too narrow. */
	skb->ignore_df = 1;
	udp_tunnel6_xmit_skb(route, sk, skb, NULL, &flow.saddr, &flow.daddr, 0,
			     ip6_dst_hoplimit(route), 0, flow.fl6_sport, flow.fl6_dport,
			     udp_get_no_check6_tx(sk) OVPN6_NO_FLAGS);
	return 0;
}
#else
static int send6(struct ovpn6_peer *peer, struct ovpn6_binding *binding, struct sk_buff *skb)
{
	return -EAFNOSUPPORT;
}
#endif

static struct ovpn6_binding *binding_now(struct ovpn6_peer *peer)
{
	struct ovpn6_binding *binding = rcu_dereference(peer->binding), *changed;
	struct sock *sk = peer->socket->sk;

	if (!binding || (binding->mark == READ_ONCE(sk->sk_mark) &&
			 binding->device == READ_ONCE(sk->sk_bound_dev_if)))
		return binding;
	/* User space changed the socket: the way that is kept is another one's. */
	changed = ovpn6_binding_new(peer, &binding->remote, &binding->local, GFP_ATOMIC);
	if (changed)
		ovpn6_peer_rebind(peer, binding, changed);
	return rcu_dereference(peer->binding);
}

/**
 * ovpn6_udp_send - a sealed packet leaves
 * @peer: to whom
 * @skb: from its opcode on; gone afterwards
 *
 * Under RCU and with bottom halves off.
 */
void ovpn6_udp_send(struct ovpn6_peer *peer, struct sk_buff *skb)
{
	struct ovpn6_binding *binding = binding_now(peer);
	struct net_device *dev = peer->device->dev;
	unsigned int length = skb->len;
	bool leaves_namespace;
	int error = -ENOTCONN;

	if (binding) {
		leaves_namespace = !net_eq(dev_net(dev), sock_net(peer->socket->sk));
		skb_scrub_packet(skb, leaves_namespace);
		skb->mark = binding->mark;
		skb->dev = NULL;
		skb->ip_summed = CHECKSUM_NONE;
		skb->encapsulation = 0;
		memset(skb->cb, 0, sizeof(skb->cb));
		error = ovpn6_is_ipv4(&binding->remote.address) ? send4(peer, binding, skb) :
								 send6(peer, binding, skb);
	}
	if (error) {
		dev_core_stats_tx_dropped_inc(dev);
		kfree_skb(skb);
		return;
	}
	OVPN6_COUNT(peer, link_tx, length);
}
