// SPDX-License-Identifier: Apache-2.0
/*
 * A super-packet out of the tunnel is one flow and so one peer: one look-up. Its segments are
 * sealed from where they lie into a train, which leaves in one call. Packets of the same peer and
 * size go into the same train until the tunnel is empty.
 */

#include "tx.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "ecn.h"
#include "keepalive.h"
#include "segment.h"

#define READ_MOST (OVPN6_VNET_SIZE + 65535 + OVPN6_MAX_HEADERS)
/* Before a packet: a stub. Behind it: a byte that a swapping stub moves there. */
#define HEADROOM 64
#define TAILROOM 64
#define TRAIN_ROOM (2 * 65536)
/* What is taken from the tunnel before others get their turn. */
#define BUDGET_READS 64
#define BUDGET_OCTETS (256 * 1024)

static const uint8_t occ_exit[17] = { 0x28, 0x7f, 0x34, 0x6b, 0xd4, 0xef, 0x7a, 0x81, 0x2d,
				      0x56, 0xb8, 0xd3, 0xaf, 0xc5, 0x45, 0x9c, 0x06 };

/**
 * struct fp_tx - the thread's own
 * @peer: whom the open train is for
 * @size: octets of its datagrams
 * @traffic_class: of its outer packets, as @flow_label; they outlast a train, for a packet may
 *	fill several
 * @ended: its last datagram was shorter
 */
struct fp_tx {
	struct fp_lane *lane;
	struct fp_worker *worker;
	struct fp_tunnel tunnel;
	struct fp_peer *peer;
	size_t size;
	size_t used;
	unsigned int count;
	bool ended;
	uint8_t traffic_class;
	uint32_t flow_label;
	uint8_t *packet;
	uint8_t *train;
	struct ovpn6_cutter cutter;
	struct fp_counts counts;
};

struct fp_tx *fp_tx_new(struct fp_lane *lane)
{
	struct fp_tx *tx = calloc(1, sizeof(*tx));

	if (tx == NULL)
		return NULL;
	tx->lane = lane;
	tx->worker = lane->worker;
	tx->tunnel.descriptor = -1;
	tx->packet = calloc(1, HEADROOM + READ_MOST + TAILROOM);
	tx->train = calloc(1, TRAIN_ROOM);
	if (tx->packet != NULL && tx->train != NULL)
		return tx;
	fp_tx_free(tx);
	return NULL;
}

void fp_tx_free(struct fp_tx *tx)
{
	free(tx->packet);
	free(tx->train);
	free(tx);
}

struct fp_counts *fp_tx_counts(struct fp_tx *tx)
{
	return &tx->counts;
}

/* --- trains -------------------------------------------------------------------------------- */

static void flush(struct fp_tx *tx)
{
	struct fp_train train = {
		.octets = tx->train,
		.length = tx->used,
		.size = tx->size,
		.count = tx->count,
		.traffic_class = tx->traffic_class,
		.flow_label = tx->flow_label,
	};
	struct fp_path *path;

	if (tx->count == 0)
		return;
	fp_add(&tx->counts.datagrams, tx->count);
	path = atomic_load(&tx->peer->path);
	if (path == NULL)
		fp_add(&tx->counts.drops[FP_DROP_SEND_CLOSED], tx->count);
	else
		fp_link_send(path->link, tx->lane->index, path, &train, &tx->counts);
	tx->count = 0;
	tx->used = 0;
	tx->ended = false;
	tx->peer = NULL;
}

/* Make sure that a datagram of this size may be the next of the open train. */
static void make_room(struct fp_tx *tx, struct fp_peer *peer, size_t size)
{
	if (tx->count > 0 && (tx->peer != peer || tx->ended || size > tx->size ||
			      tx->count == FP_TRAIN_SEGMENTS || tx->used + size > FP_TRAIN_OCTETS))
		flush(tx);
	if (tx->count == 0) {
		tx->peer = peer;
		tx->size = size;
	}
}

static bool append(struct fp_tx *tx, struct fp_peer *peer, struct fp_key *key,
		   const uint8_t *payload, size_t length)
{
	size_t size = length + key->overhead;

	make_room(tx, peer, size);
	if (!fp_seal(key, payload, length, tx->train + tx->used))
		return false;
	tx->used += size;
	tx->count++;
	tx->ended = size < tx->size;
	fp_add(&peer->sent.packets, 1);
	fp_add(&peer->sent.octets, length);
	fp_add(&peer->sent.overhead, key->overhead);
	return true;
}

/* Frames a packet where it lies, for which there is a byte before it and one behind it. */
static bool append_framed(struct fp_tx *tx, struct fp_peer *peer, struct fp_key *key,
			  uint8_t *packet, size_t length)
{
	uint32_t framing = atomic_load_explicit(&peer->spec.framing, memory_order_relaxed);
	uint8_t first = packet[0], behind = packet[length];
	bool done;

	/* In the second version only what begins like its marker is escaped, and nothing does. */
	if (framing == FP_FRAMING_NONE || framing == FP_FRAMING_STUB_V2)
		return append(tx, peer, key, packet, length);
	if (framing == FP_FRAMING_STUB) {
		behind = packet[-1];
		packet[-1] = 0xfa;
		done = append(tx, peer, key, packet - 1, length + 1);
		packet[-1] = behind;
	} else {
		packet[length] = first;
		packet[0] = 0xfb;
		done = append(tx, peer, key, packet, length + 1);
		packet[length] = behind;
		packet[0] = first;
	}
	if (done)
		fp_add(&peer->sent.framing, 1);
	return done;
}

bool fp_tx_special(struct fp_tx *tx, struct fp_peer *peer, const uint8_t *message, size_t length,
		   enum fp_drop exhausted)
{
	struct fp_key *key = atomic_load(&peer->send);
	uint8_t copy[64];
	bool done;

	if (key == NULL || length > sizeof(copy) - 2)
		return false;
	memcpy(copy + 1, message, length);
	tx->traffic_class = 0;
	tx->flow_label = 0;
	done = append_framed(tx, peer, key, copy + 1, length);
	if (done) {
		fp_add(&peer->sent.special_packets, 1);
		fp_add(&peer->sent.special_octets, length);
	} else {
		fp_drop(&tx->counts, exhausted);
	}
	flush(tx);
	return done;
}

/* --- the tunnel ---------------------------------------------------------------------------- */

static struct fp_peer *find_peer(struct fp_tx *tx, const uint8_t *packet, size_t length)
{
	const uint8_t *destination;
	struct fp_peer *peer;
	size_t size;

	if (length >= 40 && packet[0] >> 4 == 6) {
		destination = packet + 24;
		size = 16;
	} else if (length >= 20 && packet[0] >> 4 == 4) {
		destination = packet + 16;
		size = 4;
	} else {
		fp_drop(&tx->counts, FP_DROP_TUNNEL_NOT_IP);
		return NULL;
	}
	peer = fp_route_find(&tx->worker->peers.routes, destination, size);
	if (peer == NULL)
		fp_drop(&tx->counts, fp_is_multicast(destination, size) ? FP_DROP_TUNNEL_MULTICAST :
									  FP_DROP_TUNNEL_NO_PEER);
	return peer;
}

/* One super-packet is of one class and flow, and one train too. */
static void set_outer_fields(struct fp_tx *tx, struct fp_peer *peer, const uint8_t *packet,
			     size_t length)
{
	const struct fp_worker *worker = tx->worker;
	bool copy_ecn = atomic_load_explicit(&peer->spec.copy_ecn, memory_order_relaxed);
	uint8_t outer = ovpn6_outer_class(ovpn6_traffic_class(packet), copy_ecn, worker->copy_dscp);
	uint32_t label = 0;

	if (worker->label_flows)
		label = ovpn6_flow_label(worker->flow_secret, packet, length);
	if (outer == tx->traffic_class && label == tx->flow_label)
		return;
	flush(tx);
	tx->traffic_class = outer;
	tx->flow_label = label;
}

static void handle_packet(struct fp_tx *tx, const struct ovpn6_vnet *vnet, uint8_t *packet,
			  size_t length)
{
	struct fp_peer *peer = find_peer(tx, packet, length);
	struct fp_key *key = peer == NULL ? NULL : atomic_load(&peer->send);
	uint8_t *segment;
	size_t size;
	int error;

	if (peer == NULL)
		return;
	/* Steered elsewhere: another thread seals for it. */
	if (atomic_load(&peer->sender) != tx->lane->index) {
		fp_drop(&tx->counts, FP_DROP_TUNNEL_ELSEWHERE);
		return;
	}
	if (key == NULL) {
		fp_drop(&tx->counts, FP_DROP_TUNNEL_NO_KEY);
		return;
	}
	set_outer_fields(tx, peer, packet, length);
	error = ovpn6_cut_begin(&tx->cutter, vnet, packet, length);
	if (error != 0) {
		fp_drop(&tx->counts, error == OVPN6_CUT_NOT_IP ? FP_DROP_TUNNEL_NOT_IP :
								 FP_DROP_TUNNEL_OFFLOAD);
		return;
	}
	while (ovpn6_cut_next(&tx->cutter, &segment, &size)) {
		if (!append_framed(tx, peer, key, segment, size))
			fp_drop(&tx->counts, FP_DROP_TUNNEL_KEY_EXHAUSTED);
	}
}

/* In a worker of one thread the device is watched beside the sockets. */
static void use_tunnel(struct fp_tx *tx, const struct fp_tunnel *tunnel)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = FP_TUNNEL_EVENT };
	int epoll = tx->worker->single ? tx->lane->epoll : -1;

	if (epoll >= 0 && tx->tunnel.descriptor >= 0)
		epoll_ctl(epoll, EPOLL_CTL_DEL, tx->tunnel.descriptor, NULL);
	tx->tunnel = *tunnel;
	if (epoll >= 0 && tx->tunnel.descriptor >= 0)
		epoll_ctl(epoll, EPOLL_CTL_ADD, tx->tunnel.descriptor, &event);
}

static void tunnel_error(struct fp_tx *tx, int error)
{
	const struct fp_tunnel none = { .descriptor = -1 };

	fp_error(&tx->counts, FP_CALL_TUNNEL_READ, error, 1);
	if (!fp_is_gone(error))
		return;
	use_tunnel(tx, &none);
	fp_worker_tunnel_lost(tx->worker, error);
}

/* One read. Returns its octets, 0 when there is nothing more. */
static size_t take_packet(struct fp_tx *tx)
{
	struct ovpn6_vnet vnet = { 0 };
	uint8_t *packet = tx->packet + HEADROOM;
	ssize_t length = read(tx->tunnel.descriptor, packet, READ_MOST);

	if (length <= 0) {
		/* The other end of what stands for a device in tests is closed. */
		if (length == 0)
			tunnel_error(tx, ENODEV);
		else if (errno != EAGAIN && errno != EINTR)
			tunnel_error(tx, errno);
		return 0;
	}
	if (length == READ_MOST) {
		fp_drop(&tx->counts, FP_DROP_TUNNEL_TOO_LONG);
	} else if (!tx->tunnel.vnet) {
		handle_packet(tx, &vnet, packet, (size_t)length);
	} else if (length <= OVPN6_VNET_SIZE) {
		fp_drop(&tx->counts, FP_DROP_TUNNEL_NOT_IP);
	} else {
		memcpy(&vnet, packet, OVPN6_VNET_SIZE);
		handle_packet(tx, &vnet, packet + OVPN6_VNET_SIZE,
			      (size_t)length - OVPN6_VNET_SIZE);
	}
	return (size_t)length;
}

bool fp_tx_drain(struct fp_tx *tx)
{
	size_t octets = 0;

	if (tx->tunnel.descriptor < 0)
		return false;
	for (int reads = 0; reads < BUDGET_READS && octets < BUDGET_OCTETS; reads++) {
		size_t length = take_packet(tx);

		if (length == 0) {
			flush(tx);
			return false;
		}
		octets += length;
	}
	flush(tx);
	return true;
}

/* --- the thread ---------------------------------------------------------------------------- */

void fp_tx_answer(struct fp_tx *tx)
{
	struct fp_lane *lane = tx->lane;
	struct fp_peer *peer;
	uint64_t woken;

	(void)!read(lane->wake_tx, &woken, sizeof(woken));
	pthread_mutex_lock(&lane->request_lock);
	if (lane->request == FP_REQUEST_TUNNEL) {
		use_tunnel(tx, lane->request_tunnel);
	} else if (lane->request == FP_REQUEST_EXIT) {
		peer = fp_peer_find(&tx->worker->peers, lane->request_peer);
		if (peer != NULL)
			fp_tx_special(tx, peer, occ_exit, sizeof(occ_exit),
				      FP_DROP_EXIT_KEY_EXHAUSTED);
	}
	lane->request = FP_REQUEST_NONE;
	pthread_cond_signal(&lane->request_done);
	pthread_mutex_unlock(&lane->request_lock);
}

void *fp_tx_run(void *argument)
{
	struct fp_tx *tx = argument;
	const struct fp_lane *lane = tx->lane;
	struct fp_worker *worker = tx->worker;
	unsigned int reader = fp_reader(lane, FP_READER_TX);
	int64_t due = fp_now() + FP_TICK_MILLISECONDS;
	bool more = false;

	fp_lane_name(lane, "tx");
	while (!atomic_load(&worker->stop)) {
		struct pollfd watched[2] = {
			{ .fd = lane->wake_tx, .events = POLLIN },
			{ .fd = tx->tunnel.descriptor, .events = POLLIN },
		};
		int64_t now = fp_now();

		poll(watched, 2, more ? 0 : due > now ? (int)(due - now) : 0);
		fp_grace_online(&worker->peers.grace, reader);
		if (watched[0].revents != 0)
			fp_tx_answer(tx);
		now = fp_now();
		if (now >= due) {
			due = now + FP_TICK_MILLISECONDS;
			fp_keepalive_tick(lane, now);
		}
		more = watched[1].revents != 0 && fp_tx_drain(tx);
		fp_grace_offline(&worker->peers.grace, reader);
	}
	return NULL;
}
