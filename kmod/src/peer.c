// SPDX-License-Identifier: GPL-2.0-only
/*
 * Peers are found under RCU and changed under their device's lock. Who keeps one beyond RCU holds a
 * reference; the last one starts a grace period, behind which it is freed. Nobody waits for that,
 * so a device with many peers goes as quickly as one with few.
 */

#include "peer.h"

#include "keepalive.h"
#include "network.h"
#include "notify.h"
#include "socket.h"

static void peer_free(struct rcu_head *rcu)
{
	struct ovpn6_peer *peer = container_of(rcu, struct ovpn6_peer, rcu);
	struct net_device *dev = peer->device->dev;
	struct ovpn6_binding *binding = rcu_dereference_protected(peer->binding, true);

	ovpn6_keys_free(&peer->keys);
	/* Nobody is left who could read it. */
	ovpn6_binding_drop(binding);
	if (peer->socket)
		ovpn6_socket_put(peer->socket);
	free_percpu(peer->statistics);
	kfree(peer);
	dev_put(dev);
}

/**
 * ovpn6_peer_new - a peer that nobody knows yet
 * @device: its device, the lock held
 * @id: in packets to us
 *
 * Return: the peer with one reference, NULL without memory.
 */
struct ovpn6_peer *ovpn6_peer_new(struct ovpn6_device *device, u32 id)
{
	struct ovpn6_peer *peer = kzalloc(sizeof(*peer), GFP_KERNEL_ACCOUNT);

	if (!peer)
		return NULL;
	peer->statistics = __netdev_alloc_pcpu_stats(struct ovpn6_statistics, GFP_KERNEL_ACCOUNT);
	if (!peer->statistics) {
		kfree(peer);
		return NULL;
	}
	peer->device = device;
	dev_hold(device->dev);
	peer->id = id;
	peer->tx_id = id;
	refcount_set(&peer->refs, 1);
	spin_lock_init(&peer->lock);
	INIT_LIST_HEAD(&peer->on_socket);
	INIT_LIST_HEAD(&peer->networks);
	ovpn6_keepalive_init(peer);
	return peer;
}

static const u8 *vpn_key(const struct in6_addr *address)
{
	return ovpn6_is_ipv4(address) ? &address->s6_addr[12] : address->s6_addr;
}

static struct ovpn6_prefixes *vpn_prefixes(const struct ovpn6_peer *peer,
					   const struct in6_addr *address)
{
	return &peer->device->prefixes[ovpn6_is_ipv4(address) ? 0 : 1];
}

static void drop_vpn(struct ovpn6_peer *peer, const struct in6_addr *address)
{
	struct ovpn6_prefixes *prefixes = vpn_prefixes(peer, address);

	if (ipv6_addr_any(address) || ovpn6_network_is_host(peer, prefixes, vpn_key(address)))
		return;
	ovpn6_prefix_remove(prefixes, vpn_key(address), prefixes->bits);
}

/**
 * ovpn6_peer_has_vpn - is this one of a peer's inner addresses?
 * @peer: its device's lock held
 * @prefixes: the trie of the address's family
 * @address: in network order
 */
bool ovpn6_peer_has_vpn(const struct ovpn6_peer *peer, const struct ovpn6_prefixes *prefixes,
			const u8 *address)
{
	int i;

	for (i = 0; i < 2; i++)
		if (!ipv6_addr_any(&peer->vpn[i]) &&
		    vpn_prefixes(peer, &peer->vpn[i]) == prefixes &&
		    !memcmp(vpn_key(&peer->vpn[i]), address, prefixes->bits / 8))
			return true;
	return false;
}

/**
 * ovpn6_peer_set_vpn - give a peer its inner addresses
 * @peer: its device's lock held
 * @vpn: two: IPv4 mapped, and IPv6; unspecified for none
 *
 * Return: 0, -EADDRINUSE when another peer has one, -ENOMEM; nothing changes then.
 */
int ovpn6_peer_set_vpn(struct ovpn6_peer *peer, const struct in6_addr *vpn)
{
	struct ovpn6_prefixes *prefixes;
	int i, error = 0;

	for (i = 0; i < 2 && !error; i++) {
		prefixes = vpn_prefixes(peer, &vpn[i]);
		if (!ipv6_addr_any(&vpn[i]))
			error = ovpn6_prefix_add(prefixes, vpn_key(&vpn[i]), prefixes->bits, peer);
	}
	if (error) {
		/* The one that failed was not added. */
		for (i -= 2; i >= 0; i--)
			if (!ipv6_addr_equal(&vpn[i], &peer->vpn[i]))
				drop_vpn(peer, &vpn[i]);
		return error;
	}
	for (i = 0; i < 2; i++) {
		if (!ipv6_addr_equal(&vpn[i], &peer->vpn[i]))
			drop_vpn(peer, &peer->vpn[i]);
		peer->vpn[i] = vpn[i];
	}
	return 0;
}

/**
 * ovpn6_peer_publish - let a peer be found
 * @peer: complete, on its socket; its device's lock held. The device takes over the reference
 *
 * Return: 0, -EEXIST when the id is taken, -ENOMEM.
 */
int ovpn6_peer_publish(struct ovpn6_peer *peer)
{
	struct ovpn6_device *device = peer->device;
	int error;

	error = xa_insert(&device->peers, peer->id, peer, GFP_KERNEL);
	if (error)
		return error == -EBUSY ? -EEXIST : error;
	if (device->mode == OVPN6_MODE_P2P) {
		rcu_assign_pointer(device->only, peer);
		netif_carrier_on(device->dev);
	} else {
		ovpn6_binding_show(peer);
	}
	return 0;
}

/**
 * ovpn6_peer_remove - a peer goes, and user space is told
 * @peer: its device's lock held; freed some time after its last user is done
 * @reason: why
 */
void ovpn6_peer_remove(struct ovpn6_peer *peer, enum ovpn6_delete_reason reason)
{
	struct ovpn6_device *device = peer->device;
	int i;

	spin_lock_bh(&peer->lock);
	peer->is_gone = true;
	spin_unlock_bh(&peer->lock);
	xa_erase(&device->peers, peer->id);
	ovpn6_binding_hide(peer);
	if (rcu_access_pointer(device->only) == peer) {
		RCU_INIT_POINTER(device->only, NULL);
		netif_carrier_off(device->dev);
	}
	ovpn6_networks_remove_all(peer);
	for (i = 0; i < 2; i++)
		drop_vpn(peer, &peer->vpn[i]);
	ovpn6_keepalive_stop(peer);
	ovpn6_notify_deleted(peer, reason);
	list_del_init(&peer->on_socket);
	ovpn6_socket_release_idle(peer->socket);
	ovpn6_peer_put(peer);
}

/**
 * ovpn6_peers_remove_all - the device goes
 * @device: its lock held
 * @reason: why
 */
void ovpn6_peers_remove_all(struct ovpn6_device *device, enum ovpn6_delete_reason reason)
{
	struct ovpn6_peer *peer;
	unsigned long id;

	xa_for_each(&device->peers, id, peer) {
		ovpn6_peer_remove(peer, reason);
		cond_resched();
	}
}

/**
 * ovpn6_peer_hold - keep a peer beyond RCU
 * @peer: found under RCU
 *
 * Return: false when it is being freed.
 */
bool ovpn6_peer_hold(struct ovpn6_peer *peer)
{
	return refcount_inc_not_zero(&peer->refs);
}

/**
 * ovpn6_peer_put - one reference less
 * @peer: the peer
 */
void ovpn6_peer_put(struct ovpn6_peer *peer)
{
	if (refcount_dec_and_test(&peer->refs))
		call_rcu(&peer->rcu, peer_free);
}
