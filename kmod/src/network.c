// SPDX-License-Identifier: GPL-2.0-only
/*
 * A network stands in its peer's list and in the device's trie. The peer's own addresses stand in
 * the trie only; a network of one address may be the same as one of these, and either may go first.
 */

#include "network.h"

static struct ovpn6_network *find(const struct ovpn6_peer *peer, const struct ovpn6_network *same)
{
	struct ovpn6_network *network;

	list_for_each_entry(network, &peer->networks, on_peer)
		if (network->prefixes == same->prefixes && network->length == same->length &&
		    !memcmp(network->address, same->address, same->prefixes->bits / 8))
			return network;
	return NULL;
}

static bool is_own_address(const struct ovpn6_peer *peer, const struct ovpn6_network *network)
{
	return network->length == network->prefixes->bits &&
	       ovpn6_peer_has_vpn(peer, network->prefixes, network->address);
}

/* From a peer that lives as well: packets have one owner at any time. */
static int take_over(struct ovpn6_peer *peer, struct ovpn6_peer *former,
		     const struct ovpn6_network *wanted)
{
	struct ovpn6_network *network = find(former, wanted);

	if (is_own_address(former, wanted) || !network)
		return -EADDRINUSE;
	ovpn6_prefix_move(wanted->prefixes, wanted->address, wanted->length, peer);
	list_move_tail(&network->on_peer, &peer->networks);
	former->network_count--;
	peer->network_count++;
	return 0;
}

/**
 * ovpn6_network_add - a network is behind a peer from now on, and behind no other
 * @peer: its device's lock held
 * @wanted: which
 *
 * Return: 0, also when it is there already; -EADDRINUSE when it is another peer's own address,
 * -ENOSPC when the peer has as many as it may have, -ENOMEM.
 */
int ovpn6_network_add(struct ovpn6_peer *peer, const struct ovpn6_network *wanted)
{
	struct ovpn6_peer *former;
	struct ovpn6_network *network;
	int error;

	if (find(peer, wanted))
		return 0;
	if (peer->network_count >= OVPN6_MOST_PREFIXES)
		return -ENOSPC;
	peer->device->network_changes++;
	former = ovpn6_prefix_exact(wanted->prefixes, wanted->address, wanted->length);
	if (former && former != peer)
		return take_over(peer, former, wanted);
	network = kmemdup(wanted, sizeof(*wanted), GFP_KERNEL_ACCOUNT);
	if (!network)
		return -ENOMEM;
	error = ovpn6_prefix_add(wanted->prefixes, wanted->address, wanted->length, peer);
	if (error) {
		kfree(network);
		return error;
	}
	list_add_tail(&network->on_peer, &peer->networks);
	peer->network_count++;
	return 0;
}

static void forget(struct ovpn6_peer *peer, struct ovpn6_network *network)
{
	if (!is_own_address(peer, network))
		ovpn6_prefix_remove(network->prefixes, network->address, network->length);
	list_del(&network->on_peer);
	peer->network_count--;
	peer->device->network_changes++;
	kfree(network);
}

/**
 * ovpn6_network_remove - a network is behind a peer no more
 * @peer: its device's lock held
 * @unwanted: which
 *
 * Return: 0, -ENOENT when it was not there.
 */
int ovpn6_network_remove(struct ovpn6_peer *peer, const struct ovpn6_network *unwanted)
{
	struct ovpn6_network *network = find(peer, unwanted);

	if (!network)
		return -ENOENT;
	forget(peer, network);
	return 0;
}

/**
 * ovpn6_networks_remove_all - the peer goes
 * @peer: its device's lock held
 */
void ovpn6_networks_remove_all(struct ovpn6_peer *peer)
{
	struct ovpn6_network *network, *next;

	list_for_each_entry_safe(network, next, &peer->networks, on_peer)
		forget(peer, network);
}

/**
 * ovpn6_network_is_host - is this one address a network behind a peer?
 * @peer: its device's lock held
 * @prefixes: the trie of its family
 * @address: in network order
 */
bool ovpn6_network_is_host(const struct ovpn6_peer *peer, const struct ovpn6_prefixes *prefixes,
			   const u8 *address)
{
	struct ovpn6_network same = {
		.prefixes = (struct ovpn6_prefixes *)prefixes, .length = prefixes->bits,
	};

	memcpy(same.address, address, prefixes->bits / 8);
	return find(peer, &same);
}
