// SPDX-License-Identifier: GPL-2.0-only
/*
 * From a UDP socket to the device: find the peer by its id, open, refuse what was seen before,
 * follow a peer that moved, check the inner source, hand on. Nothing changes before the packet is
 * known to be authentic.
 */

#include "receive.h"

#include <linux/udp.h>
#include <net/ip.h>
#include <net/ip6_fib.h>
#include <net/ip6_route.h>
#include <net/route.h>

#include "compat.h"
#include "crypt.h"
#include "notify.h"
#include "peer.h"
#include "socket.h"

/* Seconds in which a packet may be late without being refused for it. */
#define OVPN6_REPLAY_PATIENCE 15

static void where_from(const struct sk_buff *skb, struct ovpn6_packet *packet)
{
	packet->from.port = udp_hdr(skb)->source;
	packet->from.scope = 0;
	if (ip_hdr(skb)->version == 4) {
		ipv6_addr_set_v4mapped(ip_hdr(skb)->saddr, &packet->from.address);
		ipv6_addr_set_v4mapped(ip_hdr(skb)->daddr, &packet->to);
		return;
	}
	packet->from.address = ipv6_hdr(skb)->saddr;
	packet->to = ipv6_hdr(skb)->daddr;
#if IS_ENABLED(CONFIG_IPV6)
	packet->from.scope = ipv6_iface_scope_id(&packet->from.address, inet6_iif(skb));
#endif
}

/* A peer that moved, and one that sends to another address of ours. */
static void follow(const struct ovpn6_packet *packet)
{
	struct ovpn6_peer *peer = packet->peer;
	struct ovpn6_binding *binding = rcu_dereference(peer->binding);
	bool is_there;

	if (!binding)
		return;
	is_there = ovpn6_same_endpoint(&binding->remote, &packet->from);
	if (is_there && ipv6_addr_equal(&binding->local, &packet->to))
		return;
	if (!ovpn6_peer_set_binding(peer, &packet->from, &packet->to, GFP_ATOMIC) && !is_there)
		ovpn6_notify_floated(peer, &packet->from);
}

static bool is_fresh(const struct ovpn6_packet *packet)
{
	struct ovpn6_key *key = packet->key;
	int error;

	spin_lock(&key->replay_lock);
	/* Within the lock time never falls. */
	error = ovpn6_replay_accept(&key->replay, packet->packet_id,
				    ktime_get_boottime_seconds(), OVPN6_REPLAY_PATIENCE);
	spin_unlock(&key->replay_lock);
	return !error;
}

static struct ovpn6_peer *owner_of(struct ovpn6_device *device, const struct in6_addr *address)
{
	if (ovpn6_is_ipv4(address))
		return ovpn6_prefix_find(&device->prefixes[0], &address->s6_addr[12]);
	return ovpn6_prefix_find(&device->prefixes[1], address->s6_addr);
}

/* A network behind a peer that only the routing table knows: whose is its gateway? */
static struct ovpn6_peer *owner_by_route4(struct ovpn6_device *device, __be32 source)
{
	struct flowi4 flow = { .daddr = source, .flowi4_oif = device->dev->ifindex };
	struct rtable *route = ip_route_output_key(dev_net(device->dev), &flow);
	struct in6_addr gateway;

	if (IS_ERR(route))
		return NULL;
	if (route->rt_gw_family == AF_INET6)
		gateway = route->rt_gw6;
	else
		ipv6_addr_set_v4mapped(rt_nexthop(route, source), &gateway);
	ip_rt_put(route);
	return owner_of(device, &gateway);
}

static struct ovpn6_peer *owner_by_route6(struct ovpn6_device *device, const struct in6_addr *source)
{
#if IS_ENABLED(CONFIG_IPV6)
	struct in6_addr address = *source, gateway;
	struct net_device *dev = device->dev;
	struct rt6_info *route;

	if (!ipv6_mod_enabled())
		return NULL;
	route = rt6_lookup(dev_net(dev), &address, NULL, dev->ifindex, NULL, RT6_LOOKUP_F_IFACE);
	if (!route)
		return NULL;
	gateway = *rt6_nexthop(route, &address);
	ip6_rt_put(route);
	return owner_of(device, &gateway);
#else
	return NULL;
#endif
}

static bool may_send(struct ovpn6_peer *peer, const struct sk_buff *skb, unsigned int version)
{
	struct ovpn6_device *device = peer->device;
	struct ovpn6_peer *owner;
	struct in6_addr source;

	if (device->mode == OVPN6_MODE_P2P)
		return rcu_access_pointer(device->only) == peer;
	if (version == 4)
		ipv6_addr_set_v4mapped(((struct iphdr *)skb->data)->saddr, &source);
	else
		source = ((struct ipv6hdr *)skb->data)->saddr;
	owner = owner_of(device, &source);
	if (!owner)
		owner = version == 4 ? owner_by_route4(device, ovpn6_ipv4_of(&source)) :
				       owner_by_route6(device, &source);
	return owner == peer;
}

static bool is_ping(const struct sk_buff *skb)
{
	u8 room[OVPN6_PING_SIZE];
	const u8 *data;

	if (skb->len != OVPN6_PING_SIZE)
		return false;
	data = skb_header_pointer(skb, 0, sizeof(room), room);
	return data && !memcmp(data, ovpn6_ping, OVPN6_PING_SIZE);
}

static unsigned int inner_version(struct sk_buff *skb)
{
	unsigned int size;

	if (!pskb_may_pull(skb, 1))
		return 0;
	size = skb->data[0] >> 4 == 6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	if (!pskb_may_pull(skb, size))
		return 0;
	return ovpn6_ip_version(skb->data, skb_headlen(skb));
}

static void deliver(struct ovpn6_peer *peer, struct sk_buff *skb, unsigned int version)
{
	struct net_device *dev = peer->device->dev;
	unsigned int length = skb->len;

	skb->protocol = version == 4 ? htons(ETH_P_IP) : htons(ETH_P_IPV6);
	skb->dev = dev;
	skb->ip_summed = CHECKSUM_NONE;
	skb->csum_valid = 0;
	skb->encapsulation = 0;
	skb_gso_reset(skb);
	skb_scrub_packet(skb, true);
	skb_clear_hash(skb);
	skb_set_queue_mapping(skb, 0);
	skb_reset_network_header(skb);
	skb_reset_mac_header(skb);
	skb_reset_mac_len(skb);
	skb_probe_transport_header(skb);
	memset(skb->cb, 0, sizeof(skb->cb));
	OVPN6_COUNT(peer, vpn_rx, length);
	if (gro_cells_receive(&peer->device->gro_cells, skb) != NET_RX_DROP)
		dev_sw_netstats_rx_add(dev, length);
}

static void opened(const struct ovpn6_packet *packet, int error)
{
	u64 now = ktime_get_boottime_seconds();
	struct ovpn6_peer *peer = packet->peer;
	struct sk_buff *skb = packet->skb;
	unsigned int version;

	if (error || !is_fresh(packet))
		goto drop;
	if (READ_ONCE(peer->last_received) != now)
		WRITE_ONCE(peer->last_received, now);
	follow(packet);
	__skb_pull(skb, OVPN6_OVERHEAD);
	if (is_ping(skb)) {
		consume_skb(skb);
		return;
	}
	version = inner_version(skb);
	if (!version || !may_send(peer, skb, version))
		goto drop;
	deliver(peer, skb, version);
	return;
drop:
	dev_core_stats_rx_dropped_inc(peer->device->dev);
	kfree_skb(skb);
}

static bool is_from(const struct ovpn6_peer *peer, const struct ovpn6_packet *packet)
{
	const struct ovpn6_binding *binding = rcu_dereference(peer->binding);

	return binding && ovpn6_same_endpoint(&binding->remote, &packet->from);
}

/* A packet without a peer id is of whoever is where it came from. */
static struct ovpn6_peer *sender(const struct ovpn6_socket *socket,
				 const struct ovpn6_packet *packet, u32 id)
{
	struct ovpn6_device *device = socket->device;
	bool has_id = id != OVPN6_LARGEST_PEER_ID;
	struct ovpn6_peer *peer;

	if (device->mode == OVPN6_MODE_P2P) {
		peer = rcu_dereference(device->only);
		if (peer && !(has_id ? id == peer->id : is_from(peer, packet)))
			return NULL;
	} else {
		peer = has_id ? ovpn6_peer_find(device, id) : ovpn6_peer_at(socket, &packet->from);
	}
	return peer && peer->socket == socket ? peer : NULL;
}

/**
 * ovpn6_receive - a UDP datagram came to a socket of ours
 * @sk: the socket
 * @skb: from the UDP header on, its checksum verified
 *
 * In RX softirq under RCU. Return: 0 when the packet is gone, 1 when it is for user space.
 */
int ovpn6_receive(struct sock *sk, struct sk_buff *skb)
{
	struct ovpn6_socket *socket = ovpn6_socket_of(sk);
	struct ovpn6_packet packet = { .skb = skb };
	struct ovpn6_header header;
	unsigned int length;

	if (!socket || !pskb_may_pull(skb, sizeof(struct udphdr) + 1))
		return 1;
	length = skb->len - sizeof(struct udphdr);
	switch (ovpn6_verdict_of(skb->data[sizeof(struct udphdr)], length)) {
	case OVPN6_NOT_OURS:
		return 1;
	case OVPN6_REFUSED:
		goto drop;
	case OVPN6_OURS:
		break;
	}
	if (!pskb_may_pull(skb, sizeof(struct udphdr) + OVPN6_OVERHEAD))
		goto drop;
	header = ovpn6_header_decode(skb->data + sizeof(struct udphdr));
	where_from(skb, &packet);
	packet.peer = sender(socket, &packet, header.peer_id);
	if (!packet.peer)
		goto drop;
	OVPN6_COUNT(packet.peer, link_rx, length);
	packet.key = ovpn6_key_opening(packet.peer, header.key_id);
	if (!packet.key)
		goto drop;
	packet.packet_id = header.packet_id;
	packet.payload = length - OVPN6_OVERHEAD;
	__skb_pull(skb, sizeof(struct udphdr));
	/* What held it so far may go while the cipher works. */
	skb->dev = socket->device->dev;
	skb_dst_drop(skb);
	ovpn6_open(&packet, opened);
	return 0;
drop:
	dev_core_stats_rx_dropped_inc(socket->device->dev);
	kfree_skb(skb);
	return 0;
}
