// SPDX-License-Identifier: GPL-2.0-only
/* Requests about networks behind peers; only the family ovpn6 has them. */

#include "compat.h"
#include "netlink.h"
#include "network.h"

static struct nlattr *attribute(const struct ovpn6_request *request, int number)
{
	return request->nest[number];
}

static int refuse(struct ovpn6_request *request, int number, int error, const char *text)
{
	if (request->extack) {
		request->extack->_msg = text;
		request->extack->bad_attr = attribute(request, number);
	}
	return error;
}

static struct ovpn6_peer *peer_of(struct ovpn6_request *request)
{
	u32 id = nla_get_u32(attribute(request, OVPN6_A_PREFIX_PEER_ID));
	struct ovpn6_peer *peer = ovpn6_peer_find(request->device, id);

	if (!peer)
		OVPN6_SAY(request->extack, "cannot find peer", "cannot find peer with id %u", id);
	return peer;
}

static bool has_bits_behind(const struct ovpn6_network *network)
{
	unsigned int bit;

	for (bit = network->length; bit < network->prefixes->bits; bit++)
		if (network->address[bit / 8] >> (7 - bit % 8) & 1)
			return true;
	return false;
}

/* Whether packets to or from it could be a peer's at all. Addresses that IPv6 has for IPv4 are no
 * packets' own.
 */
static bool is_unicast(const struct ovpn6_network *network)
{
	__be32 ipv4 = *(const __be32 *)network->address;
	struct in6_addr ipv6;

	if (network->prefixes->bits == 32)
		return !ipv4_is_multicast(ipv4) && !ipv4_is_loopback(ipv4) && !ipv4_is_lbcast(ipv4) &&
		       !(network->length >= 8 && ipv4_is_zeronet(ipv4));
	memcpy(&ipv6, network->address, sizeof(ipv6));
	return !ipv6_addr_is_multicast(&ipv6) && !ipv6_addr_loopback(&ipv6) &&
	       !(network->length >= 96 && ovpn6_is_ipv4(&ipv6)) &&
	       !(network->length == 128 && ipv6_addr_any(&ipv6));
}

static int read_network(struct ovpn6_request *request, struct ovpn6_network *network)
{
	struct nlattr *nest = request->info->attrs[OVPN6_A_PREFIX];
	int given = attribute(request, OVPN6_A_PREFIX_IPV6) ? OVPN6_A_PREFIX_IPV6 :
							      OVPN6_A_PREFIX_IPV4;
	u32 length;

	if (NL_REQ_ATTR_CHECK(request->extack, nest, request->nest, OVPN6_A_PREFIX_PEER_ID) ||
	    NL_REQ_ATTR_CHECK(request->extack, nest, request->nest, OVPN6_A_PREFIX_LENGTH) ||
	    NL_REQ_ATTR_CHECK(request->extack, nest, request->nest, given))
		return -EINVAL;
	if (attribute(request, OVPN6_A_PREFIX_IPV4) && attribute(request, OVPN6_A_PREFIX_IPV6))
		return refuse(request, OVPN6_A_PREFIX_IPV4, -EINVAL,
			      "a prefix is of IPv4 or of IPv6, not of both");
	if (request->device->mode == OVPN6_MODE_P2P)
		return refuse(request, OVPN6_A_PREFIX_PEER_ID, -EINVAL,
			      "a device for one peer has no prefixes: everything is that peer's");
	network->prefixes = &request->device->prefixes[given == OVPN6_A_PREFIX_IPV6];
	length = nla_get_u32(attribute(request, OVPN6_A_PREFIX_LENGTH));
	if (length > network->prefixes->bits)
		return refuse(request, OVPN6_A_PREFIX_LENGTH, -EINVAL,
			      "a prefix of IPv4 has 32 bits at most");
	network->length = length;
	nla_memcpy(network->address, attribute(request, given), network->prefixes->bits / 8);
	if (has_bits_behind(network))
		return refuse(request, given, -EINVAL, "the address has bits behind the prefix");
	if (!is_unicast(network))
		return refuse(request, given, -EADDRNOTAVAIL, "the prefix is not of unicast addresses");
	return 0;
}

/**
 * ovpn6_handle_prefix_new - a network is behind a peer from now on
 * @request: the request
 *
 * A network behind another peer moves to this one. Return: 0 or an error.
 */
int ovpn6_handle_prefix_new(struct ovpn6_request *request)
{
	struct ovpn6_network wanted = {};
	struct ovpn6_peer *peer;
	int error = read_network(request, &wanted);

	if (error)
		return error;
	peer = peer_of(request);
	if (!peer)
		return -ENOENT;
	error = ovpn6_network_add(peer, &wanted);
	if (error == -EADDRINUSE)
		NL_SET_ERR_MSG(request->extack, "the prefix is another peer's own address");
	else if (error == -ENOSPC)
		OVPN6_SAY(request->extack, "the peer has as many prefixes as it may have",
			  "a peer has at most %u prefixes", OVPN6_MOST_PREFIXES);
	return error;
}

/**
 * ovpn6_handle_prefix_del - a network is behind a peer no more
 * @request: the request
 *
 * Return: 0 or an error.
 */
int ovpn6_handle_prefix_del(struct ovpn6_request *request)
{
	struct ovpn6_network unwanted = {};
	struct ovpn6_peer *peer;
	int error = read_network(request, &unwanted);

	if (error)
		return error;
	peer = peer_of(request);
	if (!peer)
		return -ENOENT;
	error = ovpn6_network_remove(peer, &unwanted);
	if (error)
		NL_SET_ERR_MSG(request->extack, "the prefix is not behind this peer");
	return error;
}

static int put_network(struct sk_buff *message, u32 peer, const struct ovpn6_network *network)
{
	int number = network->prefixes->bits == 32 ? OVPN6_A_PREFIX_IPV4 : OVPN6_A_PREFIX_IPV6;
	struct nlattr *nest = nla_nest_start(message, OVPN6_A_PREFIX);

	if (!nest || nla_put_u32(message, OVPN6_A_PREFIX_PEER_ID, peer) ||
	    nla_put(message, number, network->prefixes->bits / 8, network->address) ||
	    nla_put_u32(message, OVPN6_A_PREFIX_LENGTH, network->length))
		return -EMSGSIZE;
	nla_nest_end(message, nest);
	return 0;
}

static bool put_message(struct sk_buff *message, struct netlink_callback *cb,
			const struct ovpn6_peer *peer, const struct ovpn6_network *network)
{
	const struct genl_family *family = &ovpn6_device_face(peer->device)->family;
	void *header;

	header = genlmsg_put(message, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq, family,
			     NLM_F_MULTI, OVPN6_CMD_PREFIX_GET);
	if (!header)
		return false;
	/* Tells the reader when something changed between two messages. */
	genl_dump_check_consistent(cb, header);
	if (put_network(message, peer->id, network)) {
		genlmsg_cancel(message, header);
		return false;
	}
	genlmsg_end(message, header);
	return true;
}

/**
 * ovpn6_prefix_put_all - as much of a dump as fits into a message
 * @message: the message
 * @cb: where the dump is: at which peer, and how many of its networks are told
 * @device: of whose peers
 *
 * Return: how much is in the message, or an error.
 */
int ovpn6_prefix_put_all(struct sk_buff *message, struct netlink_callback *cb,
			 struct ovpn6_device *device)
{
	unsigned long id = cb->args[0], told = cb->args[1], position;
	struct ovpn6_network *network;
	struct ovpn6_peer *peer;

	mutex_lock(&device->lock);
	cb->seq = device->network_changes;
	xa_for_each_start(&device->peers, id, peer, cb->args[0]) {
		position = 0;
		list_for_each_entry(network, &peer->networks, on_peer) {
			if (position >= told && !put_message(message, cb, peer, network))
				goto full;
			position++;
		}
		told = 0;
	}
	id = ULONG_MAX;
	position = 0;
full:
	mutex_unlock(&device->lock);
	cb->args[0] = id;
	cb->args[1] = position;
	return message->len;
}
