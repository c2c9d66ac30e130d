// SPDX-License-Identifier: GPL-2.0-only
/*
 * From the device to a peer: whose is the destination, cut what the stack left in one piece, number,
 * seal, send. One look for the peer and one for its key, however many packets a large one becomes.
 */

#include "transmit.h"

#include <net/ip.h>
#include <net/ip6_fib.h>
#include <net/ip6_route.h>
#include <net/route.h>

#include "compat.h"
#include "crypt.h"
#include "notify.h"
#include "peer.h"
#include "udp.h"

static void sealed(const struct ovpn6_packet *packet, int error)
{
	u64 now = ktime_get_boottime_seconds();
	struct ovpn6_peer *peer = packet->peer;

	if (error) {
		dev_core_stats_tx_dropped_inc(peer->device->dev);
		kfree_skb(packet->skb);
		return;
	}
	if (READ_ONCE(peer->last_sent) != now)
		WRITE_ONCE(peer->last_sent, now);
	ovpn6_udp_send(peer, packet->skb);
}

/* @skb: one payload; gone afterwards. Return: whether a key could still number it. */
static bool send_one(struct ovpn6_peer *peer, struct ovpn6_key *key, struct sk_buff *skb)
{
	struct ovpn6_packet packet = { .peer = peer, .key = key, .skb = skb, .payload = skb->len };
	s64 id = atomic64_inc_return(&key->last_id);

	if (id > OVPN6_LAST_PACKET_ID) {
		if (ovpn6_key_kill(peer, key))
			ovpn6_notify_key_used_up(peer, key);
		return false;
	}
	packet.packet_id = id;
	ovpn6_seal(&packet, sealed);
	return true;
}

static struct ovpn6_peer *peer_of4(struct ovpn6_device *device, const struct sk_buff *skb)
{
	const struct rtable *route = skb_rtable(skb);
	__be32 address = ip_hdr(skb)->daddr;

	if (route && route->rt_gw_family == AF_INET6)
		return ovpn6_prefix_find(&device->prefixes[1], route->rt_gw6.s6_addr);
	if (route)
		address = rt_nexthop(route, address);
	return ovpn6_prefix_find(&device->prefixes[0], (const u8 *)&address);
}

static struct ovpn6_peer *peer_of6(struct ovpn6_device *device, const struct sk_buff *skb)
{
	struct in6_addr address = ipv6_hdr(skb)->daddr;
	const struct dst_entry *route = skb_dst(skb);

	if (route)
		address = *rt6_nexthop(container_of(route, struct rt6_info, dst), &address);
	return ovpn6_prefix_find(&device->prefixes[1], address.s6_addr);
}

static struct ovpn6_peer *receiver(struct ovpn6_device *device, struct sk_buff *skb)
{
	if (device->mode == OVPN6_MODE_P2P)
		return rcu_dereference(device->only);
	/* Redirected packets come with a route of another family, or none. */
	if (skb_dst(skb) && skb_dst(skb)->ops->family !=
	    (skb->protocol == htons(ETH_P_IP) ? AF_INET : AF_INET6))
		skb_dst_drop(skb);
	return skb->protocol == htons(ETH_P_IP) ? peer_of4(device, skb) : peer_of6(device, skb);
}

static bool is_inner_packet(struct sk_buff *skb)
{
	switch (skb->protocol) {
	case htons(ETH_P_IP):
		return pskb_network_may_pull(skb, sizeof(struct iphdr)) && ip_hdr(skb)->version == 4;
	case htons(ETH_P_IPV6):
		return pskb_network_may_pull(skb, sizeof(struct ipv6hdr)) &&
		       ipv6_hdr(skb)->version == 6;
	default:
		return false;
	}
}

/* One packet, or a list of those it is cut into; NULL when that fails. Checksums are complete. */
static struct sk_buff *cut(struct sk_buff *skb)
{
	struct sk_buff *pieces;

	if (skb_is_gso(skb)) {
		pieces = skb_gso_segment(skb, 0);
		if (IS_ERR_OR_NULL(pieces)) {
			kfree_skb(skb);
			return NULL;
		}
		consume_skb(skb);
		return pieces;
	}
	if (skb->ip_summed == CHECKSUM_PARTIAL && skb_checksum_help(skb)) {
		kfree_skb(skb);
		return NULL;
	}
	skb_mark_not_on_list(skb);
	return skb;
}

static void send_list(struct ovpn6_peer *peer, struct ovpn6_key *key, struct sk_buff *list)
{
	struct net_device *dev = peer->device->dev;
	struct sk_buff *skb, *next;
	unsigned int length;

	skb_list_walk_safe(list, skb, next) {
		skb_mark_not_on_list(skb);
		skb = skb_share_check(skb, GFP_ATOMIC);
		if (!skb) {
			dev_core_stats_tx_dropped_inc(dev);
			continue;
		}
		length = skb->len;
		/* A packet that was redirected here has heeded no MTU. */
		if (length > dev->max_mtu || !send_one(peer, key, skb)) {
			dev_core_stats_tx_dropped_inc(dev);
			kfree_skb(skb);
			continue;
		}
		OVPN6_COUNT(peer, vpn_tx, length);
		dev_sw_netstats_tx_add(dev, 1, length);
	}
}

/**
 * ovpn6_transmit - the stack hands on a packet
 * @skb: an IPv4 or IPv6 packet, perhaps a large one that is to be cut
 * @dev: our device
 *
 * Return: NETDEV_TX_OK; what cannot be sent is dropped and counted.
 */
netdev_tx_t ovpn6_transmit(struct sk_buff *skb, struct net_device *dev)
{
	struct ovpn6_device *device = netdev_priv(dev);
	struct ovpn6_peer *peer;
	struct ovpn6_key *key;

	nf_reset_ct(skb);
	rcu_read_lock();
	if (!is_inner_packet(skb))
		goto drop;
	peer = receiver(device, skb);
	if (!peer)
		goto drop;
	key = ovpn6_key_sealing(peer);
	if (!key)
		goto drop;
	skb_dst_drop(skb);
	skb = cut(skb);
	if (!skb)
		dev_core_stats_tx_dropped_inc(dev);
	else
		send_list(peer, key, skb);
	rcu_read_unlock();
	return NETDEV_TX_OK;
drop:
	rcu_read_unlock();
	dev_core_stats_tx_dropped_inc(dev);
	kfree_skb(skb);
	return NETDEV_TX_OK;
}

/**
 * ovpn6_send_ping - tell a peer that we are here
 * @peer: held
 *
 * In process context. Nothing happens without a key.
 */
void ovpn6_send_ping(struct ovpn6_peer *peer)
{
	unsigned int headroom = OVPN6_OVERHEAD + peer->device->dev->needed_headroom;
	struct sk_buff *skb = alloc_skb(headroom + OVPN6_PING_SIZE, GFP_KERNEL);
	struct ovpn6_key *key;

	if (!skb)
		return;
	skb_reserve(skb, headroom);
	skb_put_data(skb, ovpn6_ping, OVPN6_PING_SIZE);
	skb->priority = TC_PRIO_BESTEFFORT;
	local_bh_disable();
	rcu_read_lock();
	key = ovpn6_key_sealing(peer);
	if (!key || !send_one(peer, key, skb))
		kfree_skb(skb);
	rcu_read_unlock();
	local_bh_enable();
}
