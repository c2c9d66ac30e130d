// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where a peer is changes with any packet of it. Packets without a peer id are known by where they
 * are from: the table of a device for many. A binding that takes another one's place takes it there
 * too, and nothing of that can fail.
 */

#include "binding.h"

#include <linux/jhash.h>

#include "peer.h"
#include "socket.h"

static u32 place_of(const struct ovpn6_device *device, const struct ovpn6_endpoint *remote)
{
	return jhash(remote, offsetofend(struct ovpn6_endpoint, port), device->place_seed);
}

/* The peer's lock held. @former: in the table or not. */
static void succeed(struct ovpn6_binding *former, struct ovpn6_binding *binding)
{
	struct ovpn6_device *device = binding->peer->device;

	spin_lock(&device->places_lock);
	if (hash_hashed(&former->place)) {
		if (ovpn6_same_endpoint(&former->remote, &binding->remote)) {
			/* Who looks finds the one or the other, and peers at one place keep their order. */
			hlist_replace_rcu(&former->place, &binding->place);
		} else {
			hash_del_rcu(&former->place);
			hash_add_rcu(device->places, &binding->place,
				     place_of(device, &binding->remote));
		}
	}
	spin_unlock(&device->places_lock);
}

static void binding_free(struct rcu_head *rcu)
{
	struct ovpn6_binding *binding = container_of(rcu, struct ovpn6_binding, rcu);

	dst_cache_destroy(&binding->cache);
	kfree(binding);
}

/**
 * ovpn6_binding_new - where a peer is to be
 * @peer: held in whichever way; nothing of it changes
 * @remote: its outer address
 * @local: ours; unspecified leaves it to routing
 * @flags: of the allocation
 *
 * Return: the binding, NULL without memory.
 */
struct ovpn6_binding *ovpn6_binding_new(struct ovpn6_peer *peer,
					const struct ovpn6_endpoint *remote,
					const struct in6_addr *local, gfp_t flags)
{
	struct ovpn6_binding *binding = kzalloc(sizeof(*binding), flags);

	if (!binding)
		return NULL;
	if (dst_cache_init(&binding->cache, flags)) {
		kfree(binding);
		return NULL;
	}
	binding->peer = peer;
	binding->remote = *remote;
	binding->local = *local;
	binding->mark = READ_ONCE(peer->socket->sk->sk_mark);
	binding->device = READ_ONCE(peer->socket->sk->sk_bound_dev_if);
	return binding;
}

/**
 * ovpn6_binding_drop - one that no peer has
 * @binding: NULL does nothing
 */
void ovpn6_binding_drop(struct ovpn6_binding *binding)
{
	if (binding)
		binding_free(&binding->rcu);
}

/**
 * ovpn6_peer_bind - a peer is there from now on
 * @peer: held in whichever way
 * @binding: the peer takes it over
 */
void ovpn6_peer_bind(struct ovpn6_peer *peer, struct ovpn6_binding *binding)
{
	struct ovpn6_binding *former;

	spin_lock_bh(&peer->lock);
	former = rcu_replace_pointer(peer->binding, binding, lockdep_is_held(&peer->lock));
	if (former)
		succeed(former, binding);
	spin_unlock_bh(&peer->lock);
	if (former)
		call_rcu(&former->rcu, binding_free);
}

/**
 * ovpn6_peer_rebind - a peer is there from now on, if nothing was said meanwhile
 * @peer: under RCU
 * @former: where it is believed to be
 * @binding: taken over, or dropped
 */
void ovpn6_peer_rebind(struct ovpn6_peer *peer, struct ovpn6_binding *former,
		       struct ovpn6_binding *binding)
{
	bool is_same;

	spin_lock_bh(&peer->lock);
	is_same = rcu_access_pointer(peer->binding) == former;
	if (is_same) {
		rcu_assign_pointer(peer->binding, binding);
		succeed(former, binding);
	}
	spin_unlock_bh(&peer->lock);
	call_rcu(is_same ? &former->rcu : &binding->rcu, binding_free);
}

/**
 * ovpn6_peer_set_binding - say where a peer is
 * @peer: held in whichever way
 * @remote: its outer address
 * @local: ours; unspecified leaves it to routing
 * @flags: of the allocation
 *
 * Return: 0 or -ENOMEM.
 */
int ovpn6_peer_set_binding(struct ovpn6_peer *peer, const struct ovpn6_endpoint *remote,
			   const struct in6_addr *local, gfp_t flags)
{
	struct ovpn6_binding *binding = ovpn6_binding_new(peer, remote, local, flags);

	if (!binding)
		return -ENOMEM;
	ovpn6_peer_bind(peer, binding);
	return 0;
}

/**
 * ovpn6_binding_show - a peer is found by where it is from now on
 * @peer: with a binding; its device's lock held
 */
void ovpn6_binding_show(struct ovpn6_peer *peer)
{
	struct ovpn6_device *device = peer->device;
	struct ovpn6_binding *binding;

	spin_lock_bh(&peer->lock);
	binding = ovpn6_peer_binding(peer);
	spin_lock(&device->places_lock);
	hash_add_rcu(device->places, &binding->place, place_of(device, &binding->remote));
	spin_unlock(&device->places_lock);
	spin_unlock_bh(&peer->lock);
}

/**
 * ovpn6_binding_hide - and not any more
 * @peer: was shown, or not; its device's lock held
 */
void ovpn6_binding_hide(struct ovpn6_peer *peer)
{
	struct ovpn6_device *device = peer->device;

	spin_lock_bh(&peer->lock);
	spin_lock(&device->places_lock);
	hash_del_rcu(&ovpn6_peer_binding(peer)->place);
	spin_unlock(&device->places_lock);
	spin_unlock_bh(&peer->lock);
}

/**
 * ovpn6_peer_at - who is there? The one that came last, where there are several
 * @socket: of a device for many
 * @remote: the outer address
 *
 * Under RCU. Return: the peer, NULL for nobody of this socket.
 */
struct ovpn6_peer *ovpn6_peer_at(const struct ovpn6_socket *socket,
				 const struct ovpn6_endpoint *remote)
{
	struct ovpn6_device *device = socket->device;
	struct ovpn6_binding *binding;

	hash_for_each_possible_rcu(device->places, binding, place, place_of(device, remote))
		if (binding->peer->socket == socket && ovpn6_same_endpoint(&binding->remote, remote))
			return binding->peer;
	return NULL;
}
