// SPDX-License-Identifier: GPL-2.0-only
/* Requests about peers. */

#include <linux/file.h>
#include <linux/net.h>

#include "compat.h"
#include "keepalive.h"
#include "netlink.h"
#include "peer.h"
#include "socket.h"

static struct nlattr *attribute(const struct ovpn6_request *request, int number)
{
	return request->nest[number];
}

static bool is_missing(struct ovpn6_request *request, int number)
{
	struct nlattr *nest = request->info->attrs[OVPN6_A_PEER];

	return NL_REQ_ATTR_CHECK(request->extack, nest, request->nest, number);
}

static struct ovpn6_peer *peer_of(struct ovpn6_request *request)
{
	u32 id = nla_get_u32(attribute(request, OVPN6_A_PEER_ID));
	struct ovpn6_peer *peer = ovpn6_peer_find(request->device, id);

	if (!peer)
		OVPN6_SAY(request->extack, "cannot find peer", "cannot find peer with id %u", id);
	return peer;
}

static int refuse(struct ovpn6_request *request, int error, const char *text)
{
	/* A constant, as the macro wants where it formats nothing. */
	if (request->extack)
		request->extack->_msg = text;
	return error;
}

/* AF_UNSPEC where neither is said. */
static sa_family_t family_of(struct nlattr *ipv4, struct nlattr *ipv6)
{
	struct in6_addr address;

	if (ipv4)
		return AF_INET;
	if (!ipv6)
		return AF_UNSPEC;
	address = nla_get_in6_addr(ipv6);
	return ovpn6_is_ipv4(&address) ? AF_INET : AF_INET6;
}

static int check_families(struct ovpn6_request *request)
{
	sa_family_t remote = family_of(attribute(request, OVPN6_A_PEER_REMOTE_IPV4),
				       attribute(request, OVPN6_A_PEER_REMOTE_IPV6));
	sa_family_t local = family_of(attribute(request, OVPN6_A_PEER_LOCAL_IPV4),
				      attribute(request, OVPN6_A_PEER_LOCAL_IPV6));

	if (local != AF_UNSPEC && local != remote)
		return refuse(request, -EINVAL, "local and remote address are of different families");
	if (remote != AF_INET6 && attribute(request, OVPN6_A_PEER_REMOTE_IPV6_SCOPE_ID))
		return refuse(request, -EINVAL,
			      "cannot specify scope id without remote IPv6 address");
	return 0;
}

static int check_order(struct ovpn6_request *request)
{
	bool has_remote = attribute(request, OVPN6_A_PEER_REMOTE_IPV4) ||
			  attribute(request, OVPN6_A_PEER_REMOTE_IPV6);

	if (attribute(request, OVPN6_A_PEER_REMOTE_IPV4) &&
	    attribute(request, OVPN6_A_PEER_REMOTE_IPV6))
		return refuse(request, -EINVAL, "cannot specify both remote IPv4 or IPv6 address");
	if (has_remote && !attribute(request, OVPN6_A_PEER_REMOTE_PORT))
		return refuse(request, -EINVAL, "cannot specify remote IP address without port");
	if (!has_remote && attribute(request, OVPN6_A_PEER_REMOTE_PORT))
		return refuse(request, -EINVAL, "cannot specify remote port without IP address");
	if (!attribute(request, OVPN6_A_PEER_REMOTE_IPV4) &&
	    attribute(request, OVPN6_A_PEER_LOCAL_IPV4))
		return refuse(request, -EINVAL,
			      "cannot specify local IPv4 address without remote IPv4 address");
	if (!attribute(request, OVPN6_A_PEER_REMOTE_IPV6) &&
	    attribute(request, OVPN6_A_PEER_LOCAL_IPV6))
		return refuse(request, -EINVAL,
			      "cannot specify local IPv6 address without remote IPv6 address");
	if (!attribute(request, OVPN6_A_PEER_KEEPALIVE_INTERVAL) !=
	    !attribute(request, OVPN6_A_PEER_KEEPALIVE_TIMEOUT))
		return refuse(request, -EINVAL,
			      "keepalive interval and timeout are required together");
	return check_families(request);
}

static bool is_peer4(__be32 address)
{
	return !ipv4_is_lbcast(address) && !ipv4_is_multicast(address) && !ipv4_is_loopback(address);
}

static bool is_peer6(const struct in6_addr *address)
{
	int type = ipv6_addr_type(address);

	return type & IPV6_ADDR_UNICAST && !(type & (IPV6_ADDR_LOOPBACK | IPV6_ADDR_COMPATv4));
}

/* What is not said stays as it is in @vpn; an unspecified address takes one away. */
static int read_vpn(struct ovpn6_request *request, struct in6_addr *vpn)
{
	struct nlattr *ipv4 = attribute(request, OVPN6_A_PEER_VPN_IPV4);
	struct nlattr *ipv6 = attribute(request, OVPN6_A_PEER_VPN_IPV6);
	__be32 address;

	if (request->device->mode == OVPN6_MODE_P2P) {
		if (ipv4 || ipv6)
			return refuse(request, -EINVAL, "VPN IP unexpected in P2P mode");
		return 0;
	}
	if (ipv4) {
		address = nla_get_in_addr(ipv4);
		if (!is_peer4(address))
			return refuse(request, -EADDRNOTAVAIL, "VPN IP is not a valid unicast address");
		vpn[0] = in6addr_any;
		if (address)
			ipv6_addr_set_v4mapped(address, &vpn[0]);
	}
	if (ipv6) {
		vpn[1] = nla_get_in6_addr(ipv6);
		if (!ipv6_addr_any(&vpn[1]) && !is_peer6(&vpn[1]))
			return refuse(request, -EADDRNOTAVAIL, "VPN IP is not a valid unicast address");
	}
	if (ipv6_addr_any(&vpn[0]) && ipv6_addr_any(&vpn[1]))
		return refuse(request, -EINVAL, "at least one VPN IP must be provided in MP mode");
	return 0;
}

/* Where the peer is to be; the caller knows that it is said. */
static void read_remote(const struct ovpn6_request *request, struct ovpn6_endpoint *remote,
			struct in6_addr *local)
{
	struct nlattr *ipv6 = attribute(request, OVPN6_A_PEER_REMOTE_IPV6);
	struct nlattr *scope = attribute(request, OVPN6_A_PEER_REMOTE_IPV6_SCOPE_ID);
	struct nlattr *local4 = attribute(request, OVPN6_A_PEER_LOCAL_IPV4);
	struct nlattr *local6 = attribute(request, OVPN6_A_PEER_LOCAL_IPV6);

	remote->port = nla_get_be16(attribute(request, OVPN6_A_PEER_REMOTE_PORT));
	remote->scope = 0;
	*local = in6addr_any;
	if (ipv6) {
		remote->address = nla_get_in6_addr(ipv6);
		if (scope && ipv6_addr_type(&remote->address) & IPV6_ADDR_LINKLOCAL)
			remote->scope = nla_get_u32(scope);
		if (local6)
			*local = nla_get_in6_addr(local6);
		return;
	}
	ipv6_addr_set_v4mapped(nla_get_in_addr(attribute(request, OVPN6_A_PEER_REMOTE_IPV4)),
			       &remote->address);
	if (local4)
		ipv6_addr_set_v4mapped(nla_get_in_addr(local4), local);
}

static bool says_remote(const struct ovpn6_request *request)
{
	return attribute(request, OVPN6_A_PEER_REMOTE_PORT);
}

static struct ovpn6_binding *make_binding(struct ovpn6_request *request, struct ovpn6_peer *peer)
{
	struct ovpn6_endpoint remote;
	struct in6_addr local;

	read_remote(request, &remote, &local);
	return ovpn6_binding_new(peer, &remote, &local, GFP_KERNEL_ACCOUNT);
}

static void apply_rest(struct ovpn6_request *request, struct ovpn6_peer *peer)
{
	struct nlattr *interval = attribute(request, OVPN6_A_PEER_KEEPALIVE_INTERVAL);
	struct nlattr *timeout = attribute(request, OVPN6_A_PEER_KEEPALIVE_TIMEOUT);

	if (attribute(request, OVPN6_A_PEER_TX_ID))
		WRITE_ONCE(peer->tx_id, nla_get_u32(attribute(request, OVPN6_A_PEER_TX_ID)));
	if (interval)
		ovpn6_keepalive_set(peer, nla_get_u32(interval), nla_get_u32(timeout));
}

/* Whether packets may leave by a socket as the request says: whoever orders that may open sockets
 * in its network namespace himself, and the socket is of a family that gets there.
 */
static int check_way(struct ovpn6_request *request, const struct sock *sk)
{
	const struct net *net = sock_net(sk);
	sa_family_t remote = family_of(attribute(request, OVPN6_A_PEER_REMOTE_IPV4),
				       attribute(request, OVPN6_A_PEER_REMOTE_IPV6));

	if (!net_eq(net, genl_info_net(request->info)) &&
	    !netlink_ns_capable(request->message, net->user_ns, CAP_NET_ADMIN))
		return refuse(request, -EPERM, "peer socket is of a namespace that is not yours");
	if (remote == AF_INET6 && sk->sk_family != AF_INET6)
		return refuse(request, -EAFNOSUPPORT, "peer socket cannot send to IPv6");
	return 0;
}

static int check_socket(struct ovpn6_request *request, const struct sock *sk)
{
	if (sk->sk_protocol == IPPROTO_TCP && says_remote(request))
		return refuse(request, -EINVAL,
			      "cannot specify remote IP address with TCP socket");
	if (sk->sk_protocol == IPPROTO_UDP && !says_remote(request))
		return refuse(request, -EINVAL,
			      "missing remote IP address for UDP socket");
	return check_way(request, sk);
}

/* The peer of an order, known to nobody. Its socket has one more reference. */
static struct ovpn6_peer *make_peer(struct ovpn6_request *request, struct sock *sk)
{
	struct ovpn6_binding *binding;
	struct ovpn6_socket *socket;
	struct ovpn6_peer *peer;

	peer = ovpn6_peer_new(request->device, nla_get_u32(attribute(request, OVPN6_A_PEER_ID)));
	if (!peer)
		return ERR_PTR(-ENOMEM);
	socket = ovpn6_socket_attach(request->device, sk, request->extack);
	if (IS_ERR(socket)) {
		ovpn6_peer_put(peer);
		return ERR_CAST(socket);
	}
	peer->socket = socket;
	binding = make_binding(request, peer);
	if (!binding) {
		ovpn6_socket_release_idle(socket);
		ovpn6_peer_put(peer);
		return ERR_PTR(-ENOMEM);
	}
	ovpn6_peer_bind(peer, binding);
	/* Before a former peer leaves the socket, which would be given back then. */
	list_add(&peer->on_socket, &socket->peers);
	return peer;
}

static int add_peer(struct ovpn6_request *request, struct ovpn6_peer *peer,
		    const struct in6_addr *vpn)
{
	struct ovpn6_device *device = request->device;
	struct in6_addr none[2] = {};
	struct ovpn6_peer *former;
	int error = 0;

	if (device->mode == OVPN6_MODE_P2P) {
		former = rcu_dereference_protected(device->only, lockdep_is_held(&device->lock));
		if (former)
			ovpn6_peer_remove(former, OVPN6_DEL_TEARDOWN);
	} else {
		error = ovpn6_peer_find(device, peer->id) ? -EEXIST : ovpn6_peer_set_vpn(peer, vpn);
	}
	if (error)
		return error;
	error = ovpn6_peer_publish(peer);
	if (error)
		ovpn6_peer_set_vpn(peer, none);
	return error;
}

/**
 * ovpn6_handle_peer_new - add a peer; a device for one gives up the one it has
 * @request: the request
 *
 * Return: 0 or an error.
 */
int ovpn6_handle_peer_new(struct ovpn6_request *request)
{
	struct in6_addr vpn[2] = {};
	struct ovpn6_peer *peer;
	struct socket *file;
	int error;

	if (is_missing(request, OVPN6_A_PEER_ID) || is_missing(request, OVPN6_A_PEER_SOCKET))
		return -EINVAL;
	error = check_order(request);
	if (!error)
		error = read_vpn(request, vpn);
	if (error)
		return error;
	/* Of the process that sends: it runs this very call. */
	file = sockfd_lookup(nla_get_u32(attribute(request, OVPN6_A_PEER_SOCKET)), &error);
	if (!file)
		return refuse(request, -ENOTSOCK, "cannot lookup peer socket");
	error = check_socket(request, file->sk);
	if (error)
		goto put;
	peer = make_peer(request, file->sk);
	if (IS_ERR(peer)) {
		error = PTR_ERR(peer);
		goto put;
	}
	error = add_peer(request, peer, vpn);
	if (error) {
		OVPN6_SAY(request->extack, "cannot add new peer to hashtable",
			  "cannot add new peer (id=%u) to hashtable", peer->id);
		list_del_init(&peer->on_socket);
		ovpn6_socket_release_idle(peer->socket);
		ovpn6_peer_put(peer);
		goto put;
	}
	apply_rest(request, peer);
put:
	sockfd_put(file);
	return error;
}

/**
 * ovpn6_handle_peer_set - change what the request names
 * @request: the request
 *
 * Return: 0 or an error; nothing changes then.
 */
int ovpn6_handle_peer_set(struct ovpn6_request *request)
{
	struct ovpn6_binding *binding = NULL;
	struct in6_addr vpn[2];
	struct ovpn6_peer *peer;
	int error;

	if (is_missing(request, OVPN6_A_PEER_ID))
		return -EINVAL;
	error = check_order(request);
	if (error)
		return error;
	peer = peer_of(request);
	if (!peer)
		return -ENOENT;
	memcpy(vpn, peer->vpn, sizeof(vpn));
	error = read_vpn(request, vpn);
	if (error)
		return error;
	/* Whatever needs memory comes before the first change. */
	if (says_remote(request)) {
		error = check_way(request, peer->socket->sk);
		if (error)
			return error;
		binding = make_binding(request, peer);
		if (!binding)
			return -ENOMEM;
	}
	if (request->device->mode == OVPN6_MODE_MP) {
		error = ovpn6_peer_set_vpn(peer, vpn);
		if (error == -EADDRINUSE)
			refuse(request, error, "VPN IP is another peer's");
	}
	if (error) {
		ovpn6_binding_drop(binding);
		return error;
	}
	if (binding)
		ovpn6_peer_bind(peer, binding);
	apply_rest(request, peer);
	return 0;
}

/**
 * ovpn6_handle_peer_del - remove a peer
 * @request: the request
 *
 * Return: 0 or an error.
 */
int ovpn6_handle_peer_del(struct ovpn6_request *request)
{
	struct ovpn6_peer *peer;

	if (is_missing(request, OVPN6_A_PEER_ID))
		return -EINVAL;
	peer = peer_of(request);
	if (!peer)
		return -ENOENT;
	ovpn6_peer_remove(peer, OVPN6_DEL_USERSPACE);
	return 0;
}

/**
 * ovpn6_handle_peer_get - tell of one peer
 * @request: the request
 *
 * Return: 0 or an error.
 */
int ovpn6_handle_peer_get(struct ovpn6_request *request)
{
	struct sk_buff *message;
	struct ovpn6_peer *peer;
	int number, error;
	void *header;

	if (is_missing(request, OVPN6_A_PEER_ID))
		return -EINVAL;
	for (number = OVPN6_A_PEER_ID + 1; number <= OVPN6_A_PEER_MAX; number++)
		if (attribute(request, number))
			return refuse(request, -EINVAL, "unexpected attribute");
	peer = peer_of(request);
	if (!peer)
		return -ENOENT;
	message = nlmsg_new(NLMSG_GOODSIZE, GFP_KERNEL);
	if (!message)
		return -ENOMEM;
	header = genlmsg_put_reply(message, request->info,
				   &ovpn6_device_face(request->device)->family, 0,
				   OVPN6_CMD_PEER_GET);
	rcu_read_lock();
	error = header ? ovpn6_put_peer(message, peer, genl_info_net(request->info)) : -EMSGSIZE;
	rcu_read_unlock();
	if (error) {
		nlmsg_free(message);
		return error;
	}
	genlmsg_end(message, header);
	return genlmsg_reply(message, request->info);
}
