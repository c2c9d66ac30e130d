// SPDX-License-Identifier: GPL-2.0-only
/*
 * Notifications go to the network namespace of the peer's socket, where the process is that owns
 * it; the device may be in another one. From any context: they are made without sleeping.
 */

#include "notify.h"

#include "peer.h"
#include "socket.h"

/* A message with its device's number and an open nest. NULL without memory. */
static struct sk_buff *begin(struct ovpn6_peer *peer, enum ovpn6_command command, int attribute,
			     void **header, struct nlattr **nest)
{
	struct ovpn6_device *device = peer->device;
	struct sk_buff *message = nlmsg_new(NLMSG_GOODSIZE, GFP_ATOMIC);

	if (!message)
		return NULL;
	*header = genlmsg_put(message, 0, 0, &ovpn6_device_face(device)->family, 0, command);
	if (*header && !nla_put_u32(message, OVPN6_A_IFINDEX, device->dev->ifindex)) {
		*nest = nla_nest_start(message, attribute);
		if (*nest)
			return message;
	}
	nlmsg_free(message);
	return NULL;
}

static void finish(struct ovpn6_peer *peer, struct sk_buff *message, void *header,
		   struct nlattr *nest)
{
	nla_nest_end(message, nest);
	genlmsg_end(message, header);
	genlmsg_multicast_netns(&ovpn6_device_face(peer->device)->family,
				sock_net(peer->socket->sk), message, 0, 0, GFP_ATOMIC);
}

/**
 * ovpn6_notify_deleted - a peer is gone
 * @peer: which
 * @reason: why
 */
void ovpn6_notify_deleted(struct ovpn6_peer *peer, enum ovpn6_delete_reason reason)
{
	struct sk_buff *message;
	struct nlattr *nest;
	void *header;

	message = begin(peer, OVPN6_CMD_PEER_DEL_NTF, OVPN6_A_PEER, &header, &nest);
	if (!message)
		return;
	if (nla_put_u32(message, OVPN6_A_PEER_DEL_REASON, reason) ||
	    nla_put_u32(message, OVPN6_A_PEER_ID, peer->id))
		nlmsg_free(message);
	else
		finish(peer, message, header, nest);
}

static int put_remote(struct sk_buff *message, const struct ovpn6_endpoint *remote)
{
	if (ovpn6_is_ipv4(&remote->address)) {
		if (nla_put_in_addr(message, OVPN6_A_PEER_REMOTE_IPV4,
				    ovpn6_ipv4_of(&remote->address)))
			return -EMSGSIZE;
	} else if (nla_put_in6_addr(message, OVPN6_A_PEER_REMOTE_IPV6, &remote->address) ||
		   nla_put_u32(message, OVPN6_A_PEER_REMOTE_IPV6_SCOPE_ID, remote->scope)) {
		return -EMSGSIZE;
	}
	return nla_put_be16(message, OVPN6_A_PEER_REMOTE_PORT, remote->port);
}

/**
 * ovpn6_notify_floated - a peer sent from another address
 * @peer: which
 * @remote: where it is now
 */
void ovpn6_notify_floated(struct ovpn6_peer *peer, const struct ovpn6_endpoint *remote)
{
	struct sk_buff *message;
	struct nlattr *nest;
	void *header;

	message = begin(peer, OVPN6_CMD_PEER_FLOAT_NTF, OVPN6_A_PEER, &header, &nest);
	if (!message)
		return;
	if (nla_put_u32(message, OVPN6_A_PEER_ID, peer->id) || put_remote(message, remote))
		nlmsg_free(message);
	else
		finish(peer, message, header, nest);
}

/**
 * ovpn6_notify_key_used_up - a key has numbered all the packets it can, and is gone
 * @peer: whose
 * @key: which
 */
void ovpn6_notify_key_used_up(struct ovpn6_peer *peer, const struct ovpn6_key *key)
{
	struct sk_buff *message;
	struct nlattr *nest;
	void *header;

	message = begin(peer, OVPN6_CMD_KEY_SWAP_NTF, OVPN6_A_KEYCONF, &header, &nest);
	if (!message)
		return;
	/* Two bytes here, whatever it is elsewhere: OpenVPN reads two. */
	if (nla_put_u32(message, OVPN6_A_KEYCONF_PEER_ID, peer->id) ||
	    nla_put_u16(message, OVPN6_A_KEYCONF_KEY_ID, key->id))
		nlmsg_free(message);
	else
		finish(peer, message, header, nest);
}
