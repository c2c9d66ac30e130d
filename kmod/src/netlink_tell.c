// SPDX-License-Identifier: GPL-2.0-only
/* What user space is told of peers when it asks. */

#include "compat.h"
#include "netlink.h"
#include "peer.h"
#include "socket.h"

/* Four bytes where they are enough. */
static int put_number(struct sk_buff *message, int number, u64 value)
{
	if (value <= U32_MAX)
		return nla_put_u32(message, number, value);
	return nla_put_u64_64bit(message, number, value, OVPN6_A_PEER_MAX + 1);
}

/* What struct ovpn6_counts is on all processors together. */
struct sum {
	u64 bytes, packets;
};

static void sum_up(const struct ovpn6_peer *peer, struct sum *sums)
{
	int cpu, i;

	for_each_possible_cpu(cpu) {
		const struct ovpn6_statistics *one = per_cpu_ptr(peer->statistics, cpu);
		const struct ovpn6_counts *counts[] = {
			&one->vpn_rx, &one->vpn_tx, &one->link_rx, &one->link_tx,
		};
		struct sum seen[4];
		unsigned int start;

		do {
			start = u64_stats_fetch_begin(&one->syncp);
			for (i = 0; i < 4; i++) {
				seen[i].bytes = u64_stats_read(&counts[i]->bytes);
				seen[i].packets = u64_stats_read(&counts[i]->packets);
			}
		} while (u64_stats_fetch_retry(&one->syncp, start));
		for (i = 0; i < 4; i++) {
			sums[i].bytes += seen[i].bytes;
			sums[i].packets += seen[i].packets;
		}
	}
}

static int put_counts(struct sk_buff *message, const struct ovpn6_peer *peer)
{
	struct sum sums[4] = {};
	int side;

	sum_up(peer, sums);
	/* For either side: octets in and out, then packets in and out. */
	for (side = 0; side < 2; side++) {
		int first = side ? OVPN6_A_PEER_LINK_RX_BYTES : OVPN6_A_PEER_VPN_RX_BYTES;
		const struct sum *in = &sums[2 * side], *out = in + 1;

		if (put_number(message, first, in->bytes) ||
		    put_number(message, first + 1, out->bytes) ||
		    put_number(message, first + 2, in->packets) ||
		    put_number(message, first + 3, out->packets))
			return -EMSGSIZE;
	}
	return 0;
}

static int put_binding(struct sk_buff *message, const struct ovpn6_binding *binding)
{
	bool is_ipv4 = ovpn6_is_ipv4(&binding->remote.address);

	if (nla_put_be16(message, OVPN6_A_PEER_REMOTE_PORT, binding->remote.port))
		return -EMSGSIZE;
	if (is_ipv4 && nla_put_in_addr(message, OVPN6_A_PEER_REMOTE_IPV4,
				       ovpn6_ipv4_of(&binding->remote.address)))
		return -EMSGSIZE;
	if (!is_ipv4 &&
	    (nla_put_in6_addr(message, OVPN6_A_PEER_REMOTE_IPV6, &binding->remote.address) ||
	     nla_put_u32(message, OVPN6_A_PEER_REMOTE_IPV6_SCOPE_ID, binding->remote.scope)))
		return -EMSGSIZE;
	if (is_ipv4)
		return nla_put_in_addr(message, OVPN6_A_PEER_LOCAL_IPV4,
				       ovpn6_ipv4_of(&binding->local));
	return nla_put_in6_addr(message, OVPN6_A_PEER_LOCAL_IPV6, &binding->local);
}

static int put_socket(struct sk_buff *message, const struct ovpn6_peer *peer, struct net *net)
{
	struct sock *sk = peer->socket->sk;
	int id;

	if (!net_eq(net, sock_net(sk))) {
		id = peernet2id_alloc(net, sock_net(sk), GFP_ATOMIC);
		if (nla_put_s32(message, OVPN6_A_PEER_SOCKET_NETNSID, id))
			return -EMSGSIZE;
	}
	return nla_put_be16(message, OVPN6_A_PEER_LOCAL_PORT, inet_sk(sk)->inet_sport);
}

static int put_vpn(struct sk_buff *message, const struct ovpn6_peer *peer)
{
	if (!ipv6_addr_any(&peer->vpn[0]) &&
	    nla_put_in_addr(message, OVPN6_A_PEER_VPN_IPV4, ovpn6_ipv4_of(&peer->vpn[0])))
		return -EMSGSIZE;
	if (!ipv6_addr_any(&peer->vpn[1]) &&
	    nla_put_in6_addr(message, OVPN6_A_PEER_VPN_IPV6, &peer->vpn[1]))
		return -EMSGSIZE;
	return 0;
}

/**
 * ovpn6_put_peer - all that is known of a peer
 * @message: to user space
 * @peer: the peer
 * @net: in which it is asked
 *
 * Under RCU. Return: 0, -EMSGSIZE when it does not fit.
 */
int ovpn6_put_peer(struct sk_buff *message, const struct ovpn6_peer *peer, struct net *net)
{
	struct nlattr *nest = nla_nest_start(message, OVPN6_A_PEER);
	const struct ovpn6_binding *binding = rcu_dereference(peer->binding);

	if (!nest || nla_put_u32(message, OVPN6_A_PEER_ID, peer->id) ||
	    nla_put_u32(message, OVPN6_A_PEER_TX_ID, READ_ONCE(peer->tx_id)) ||
	    put_vpn(message, peer) ||
	    nla_put_u32(message, OVPN6_A_PEER_KEEPALIVE_INTERVAL, READ_ONCE(peer->interval)) ||
	    nla_put_u32(message, OVPN6_A_PEER_KEEPALIVE_TIMEOUT, READ_ONCE(peer->timeout)) ||
	    (binding && put_binding(message, binding)) || put_socket(message, peer, net) ||
	    put_counts(message, peer))
		return -EMSGSIZE;
	nla_nest_end(message, nest);
	return 0;
}

/**
 * ovpn6_peer_put_all - as much of a dump as fits into a message
 * @message: the message
 * @cb: where the dump is
 * @device: whose peers
 *
 * Return: how much is in the message, or an error.
 */
int ovpn6_peer_put_all(struct sk_buff *message, struct netlink_callback *cb,
		       struct ovpn6_device *device)
{
	const struct genl_family *family = &ovpn6_device_face(device)->family;
	unsigned long id = cb->args[0];
	struct ovpn6_peer *peer;
	void *header;

	rcu_read_lock();
	xa_for_each_start(&device->peers, id, peer, cb->args[0]) {
		header = genlmsg_put(message, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq, family,
				     NLM_F_MULTI, OVPN6_CMD_PEER_GET);
		if (!header)
			break;
		if (ovpn6_put_peer(message, peer, sock_net(cb->skb->sk))) {
			genlmsg_cancel(message, header);
			break;
		}
		genlmsg_end(message, header);
	}
	rcu_read_unlock();
	cb->args[0] = peer ? id : ULONG_MAX;
	return message->len;
}
