/* SPDX-License-Identifier: GPL-2.0-only */
/* The remote ends of a device. */
#ifndef OVPN6_PEER_H
#define OVPN6_PEER_H

#include <linux/refcount.h>
#include <linux/u64_stats_sync.h>
#include <linux/workqueue.h>

#include "binding.h"
#include "device.h"
#include "key.h"

struct ovpn6_socket;

/**
 * struct ovpn6_counts - of one direction on one side
 * @bytes: of payloads
 * @packets: how many
 */
struct ovpn6_counts {
	u64_stats_t bytes;
	u64_stats_t packets;
};

/**
 * struct ovpn6_statistics - of a peer on one processor
 * @vpn_rx: inner packets from it
 * @vpn_tx: inner packets to it
 * @link_rx: outer data packets from it
 * @link_tx: outer data packets to it
 * @syncp: lets 32-bit readers see whole numbers
 */
struct ovpn6_statistics {
	struct ovpn6_counts vpn_rx, vpn_tx, link_rx, link_tx;
	struct u64_stats_sync syncp;
};

/**
 * struct ovpn6_peer - a remote end
 * @device: the device; the peer holds it
 * @socket: the transport; the peer holds it
 * @id: in packets to us
 * @tx_id: in packets from us
 * @refs: of who works outside of RCU, and one for being in the device's table
 * @binding: where it is
 * @lock: held by whoever changes @binding, @keys, @is_gone or queues @keepalive
 * @keys: data keys
 * @is_gone: it was removed
 * @vpn: inner addresses, IPv4 mapped; unspecified for none. Changed under the device's lock
 * @networks: behind it, &struct ovpn6_network. Likewise
 * @network_count: how many
 * @interval: seconds without a packet to it before we ping; 0 for never
 * @timeout: seconds without a packet from it before it is removed; 0 for never
 * @last_sent: in seconds since boot
 * @last_received: likewise
 * @keepalive: watches over both
 * @statistics: for each processor
 * @on_socket: in the list of its socket
 * @rcu: frees it behind its last reader
 */
struct ovpn6_peer {
	struct ovpn6_device *device;
	struct ovpn6_socket *socket;
	u32 id;
	u32 tx_id;
	refcount_t refs;
	struct ovpn6_binding __rcu *binding;
	spinlock_t lock;
	struct ovpn6_keys keys;
	bool is_gone;
	struct in6_addr vpn[2];
	struct list_head networks;
	u32 network_count;
	u32 interval;
	u32 timeout;
	u64 last_sent;
	u64 last_received;
	struct delayed_work keepalive;
	struct ovpn6_statistics __percpu *statistics;
	struct list_head on_socket;
	struct rcu_head rcu;
};

struct ovpn6_peer *ovpn6_peer_new(struct ovpn6_device *device, u32 id);
int ovpn6_peer_set_vpn(struct ovpn6_peer *peer, const struct in6_addr *vpn);
bool ovpn6_peer_has_vpn(const struct ovpn6_peer *peer, const struct ovpn6_prefixes *prefixes,
			const u8 *address);
int ovpn6_peer_publish(struct ovpn6_peer *peer);
void ovpn6_peer_remove(struct ovpn6_peer *peer, enum ovpn6_delete_reason reason);
void ovpn6_peers_remove_all(struct ovpn6_device *device, enum ovpn6_delete_reason reason);
void ovpn6_peer_put(struct ovpn6_peer *peer);
bool ovpn6_peer_hold(struct ovpn6_peer *peer);

static inline struct ovpn6_peer *ovpn6_peer_find(struct ovpn6_device *device, u32 id)
{
	return xa_load(&device->peers, id);
}

static inline struct ovpn6_binding *ovpn6_peer_binding(const struct ovpn6_peer *peer)
{
	return rcu_dereference_check(peer->binding, lockdep_is_held(&peer->lock) ||
				     lockdep_is_held(&peer->device->lock));
}

static inline void ovpn6_count(struct ovpn6_peer *peer, size_t offset, unsigned int bytes)
{
	struct ovpn6_statistics *statistics = this_cpu_ptr(peer->statistics);
	struct ovpn6_counts *counts = (void *)statistics + offset;

	u64_stats_update_begin(&statistics->syncp);
	u64_stats_add(&counts->bytes, bytes);
	u64_stats_inc(&counts->packets);
	u64_stats_update_end(&statistics->syncp);
}

/* With bottom halves off. */
#define OVPN6_COUNT(peer, what, bytes) \
	ovpn6_count(peer, offsetof(struct ovpn6_statistics, what), bytes)

#endif
