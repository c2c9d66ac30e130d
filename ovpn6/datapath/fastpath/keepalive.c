// SPDX-License-Identifier: Apache-2.0
/*
 * Nothing here is driven by packets: counters are compared with those of a second ago, so that the
 * hot loops need no clock. The reference is ovpn6/datapath/keepalive.py.
 */

#include "keepalive.h"

static const uint8_t ping[16] = { 0x2a, 0x18, 0x7b, 0xf3, 0x64, 0x1e, 0xb4, 0xcb,
				  0x07, 0xed, 0x2d, 0x0a, 0x98, 0x1f, 0xc7, 0x48 };

static bool tell(struct fp_worker *worker, uint32_t kind, const struct fp_peer *peer,
		 uint32_t other)
{
	struct fp_report report = { .kind = kind, .peer = peer->id, .other = other };

	return fp_queue_push(&worker->queue, &report, NULL, 0);
}

static uint32_t seconds(const _Atomic uint32_t *value)
{
	return atomic_load_explicit(value, memory_order_relaxed);
}

/* --- what is looked at --------------------------------------------------------------------- */

static void check_key(struct fp_worker *worker, struct fp_peer *peer, struct fp_key *key)
{
	if (key != NULL && !key->told_worn_out && fp_key_worn_out(key))
		key->told_worn_out = tell(worker, FP_REPORT_WORN_OUT, peer, key->key_id);
}

static void check_silence(struct fp_worker *worker, struct fp_peer *peer, int64_t now)
{
	struct fp_watch *watch = &peer->watch;
	int64_t timeout = (int64_t)seconds(&peer->spec.timeout) * 1000;
	uint64_t opened = fp_read(&peer->received.packets);

	if (opened != watch->heard_packets) {
		watch->heard_packets = opened;
		watch->heard_at = now;
		watch->told_expired = false;
	} else if (timeout != 0 && now - watch->heard_at >= timeout && !watch->told_expired) {
		watch->told_expired = tell(worker, FP_REPORT_EXPIRED, peer, 0);
	}
}

static uint64_t inner_octets(const struct fp_tally *tally)
{
	return fp_read(&tally->octets) - fp_read(&tally->special_octets) - fp_read(&tally->framing);
}

static void check_idleness(struct fp_worker *worker, struct fp_peer *peer, int64_t now)
{
	struct fp_watch *watch = &peer->watch;
	int64_t after = (int64_t)seconds(&peer->spec.inactive_after) * 1000;
	uint64_t least = atomic_load_explicit(&peer->spec.inactive_octets, memory_order_relaxed);
	uint64_t moved = inner_octets(&peer->sent) + inner_octets(&peer->received);

	if (after == 0)
		return;
	if (moved - watch->moved_octets >= (least > 0 ? least : 1)) {
		watch->moved_octets = moved;
		watch->moved_at = now;
		watch->told_inactive = false;
	} else if (now - watch->moved_at >= after && !watch->told_inactive) {
		watch->told_inactive = tell(worker, FP_REPORT_INACTIVE, peer, 0);
	}
}

static void check_ping(struct fp_tx *tx, struct fp_peer *peer, int64_t now)
{
	struct fp_watch *watch = &peer->watch;
	int64_t interval = (int64_t)seconds(&peer->spec.interval) * 1000;
	uint64_t sealed = fp_read(&peer->sent.packets);

	if (sealed != watch->sent_packets) {
		watch->sent_packets = sealed;
		watch->sent_at = now;
	} else if (interval != 0 && now - watch->sent_at >= interval &&
		   fp_tx_special(tx, peer, ping, sizeof(ping), FP_DROP_PING_KEY_EXHAUSTED)) {
		watch->sent_packets = sealed + 1;
		watch->sent_at = now;
	}
}

static bool has_key(const struct fp_peer *peer)
{
	for (unsigned int id = 0; id < FP_KEY_IDS; id++) {
		if (atomic_load(&peer->receive[id]) != NULL)
			return true;
	}
	return false;
}

void fp_keepalive_tick(const struct fp_lane *lane, int64_t now)
{
	struct fp_worker *worker = lane->worker;
	struct fp_peer *peer;
	size_t position = 0;

	while ((peer = fp_map_next(&worker->peers.by_id, &position)) != NULL) {
		if (atomic_load(&peer->sender) != lane->index || !has_key(peer))
			continue;
		if (!peer->watch.began) {
			int64_t since = atomic_load(&peer->live_since);

			peer->watch.began = true;
			peer->watch.sent_at = peer->watch.heard_at = peer->watch.moved_at = since;
		}
		check_key(worker, peer, atomic_load(&peer->send));
		check_silence(worker, peer, now);
		check_idleness(worker, peer, now);
		check_ping(lane->tx, peer, now);
	}
}
