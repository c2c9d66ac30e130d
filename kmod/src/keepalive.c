// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each peer with a keepalive has one work that wakes when the next thing may be due: a ping when
 * nothing was sent for the interval, removal when nothing was received for the timeout. Packets
 * only write down the time. Time is since boot and goes on while the machine sleeps.
 */

#include "keepalive.h"

#include "peer.h"
#include "transmit.h"

static struct workqueue_struct *works;

/* The work has a reference while it is queued. */
static void queue(struct ovpn6_peer *peer, u64 seconds)
{
	unsigned long delay = max_t(u64, seconds, 1) * HZ;

	spin_lock_bh(&peer->lock);
	if (!peer->is_gone) {
		refcount_inc(&peer->refs);
		if (mod_delayed_work(works, &peer->keepalive, delay))
			refcount_dec(&peer->refs);
	}
	spin_unlock_bh(&peer->lock);
}

static void expire(struct ovpn6_peer *peer)
{
	mutex_lock(&peer->device->lock);
	if (!peer->is_gone)
		ovpn6_peer_remove(peer, OVPN6_DEL_EXPIRED);
	mutex_unlock(&peer->device->lock);
}

static void look(struct ovpn6_peer *peer)
{
	u32 interval = READ_ONCE(peer->interval), timeout = READ_ONCE(peer->timeout);
	u64 now = ktime_get_boottime_seconds(), next = U64_MAX, due;

	if (timeout) {
		due = READ_ONCE(peer->last_received) + timeout;
		if (due <= now) {
			expire(peer);
			return;
		}
		next = due - now;
	}
	if (interval) {
		due = READ_ONCE(peer->last_sent) + interval;
		if (due <= now) {
			/* Counted even where nothing could be sent: the next one is an interval away. */
			WRITE_ONCE(peer->last_sent, now);
			ovpn6_send_ping(peer);
			due = now + interval;
		}
		next = min(next, due - now);
	}
	if (next != U64_MAX)
		queue(peer, next);
}

static void run(struct work_struct *work)
{
	struct ovpn6_peer *peer = container_of(to_delayed_work(work), struct ovpn6_peer, keepalive);

	look(peer);
	ovpn6_peer_put(peer);
}

/**
 * ovpn6_keepalive_init - of a new peer: none yet
 * @peer: the peer
 */
void ovpn6_keepalive_init(struct ovpn6_peer *peer)
{
	INIT_DELAYED_WORK(&peer->keepalive, run);
}

/**
 * ovpn6_keepalive_set - begin, with both times from now on
 * @peer: its device's lock held
 * @interval: seconds; 0 for never
 * @timeout: seconds; 0 for never
 */
void ovpn6_keepalive_set(struct ovpn6_peer *peer, u32 interval, u32 timeout)
{
	u64 now = ktime_get_boottime_seconds();

	WRITE_ONCE(peer->interval, interval);
	WRITE_ONCE(peer->timeout, timeout);
	WRITE_ONCE(peer->last_sent, now);
	WRITE_ONCE(peer->last_received, now);
	if (interval || timeout)
		queue(peer, min(interval ?: U32_MAX, timeout ?: U32_MAX));
}

/**
 * ovpn6_keepalive_stop - of a peer that is gone
 * @peer: marked so; held
 */
void ovpn6_keepalive_stop(struct ovpn6_peer *peer)
{
	if (cancel_delayed_work(&peer->keepalive))
		ovpn6_peer_put(peer);
}

/**
 * ovpn6_keepalive_start - before the first peer
 *
 * Return: 0 or -ENOMEM.
 */
int ovpn6_keepalive_start(void)
{
	works = alloc_workqueue("ovpn6-keepalive", WQ_UNBOUND, 0);
	return works ? 0 : -ENOMEM;
}

/**
 * ovpn6_keepalive_end - behind the last peer
 */
void ovpn6_keepalive_end(void)
{
	destroy_workqueue(works);
}
