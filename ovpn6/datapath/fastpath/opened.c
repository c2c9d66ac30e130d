// SPDX-License-Identifier: Apache-2.0
/* One datagram after the other. What a stranger can cause is one counter or one queue entry. */

#include "opened.h"

#include <string.h>

#include "ecn.h"

#define OPCODES 12
/* 1 and 2 are key method 1, which is dead. */
#define FIRST_OPCODE 3
#define DATA_V1 6

static const uint8_t ping[16] = { 0x2a, 0x18, 0x7b, 0xf3, 0x64, 0x1e, 0xb4, 0xcb,
				  0x07, 0xed, 0x2d, 0x0a, 0x98, 0x1f, 0xc7, 0x48 };
static const uint8_t occ[16] = { 0x28, 0x7f, 0x34, 0x6b, 0xd4, 0xef, 0x7a, 0x81,
				 0x2d, 0x56, 0xb8, 0xd3, 0xaf, 0xc5, 0x45, 0x9c };
#define OCC_EXIT 6

/**
 * struct judged - a datagram on its way
 */
struct judged {
	const struct fp_lane *lane;
	struct fp_worker *worker;
	struct fp_counts *counts;
	struct fp_link *link;
	const struct fp_arrival *arrival;
	const uint8_t *datagram;
	struct fp_peer *peer;
	struct fp_key *key;
	uint8_t *packet;
	size_t length;
};

static void describe_path(const struct judged *one, struct fp_report *report)
{
	report->link = one->link->id;
	memcpy(report->address, one->arrival->from.address, FP_ADDRESS_SIZE);
	memcpy(report->local, one->arrival->local, one->arrival->local_size);
	report->local_size = one->arrival->local_size;
}

static void not_data(const struct judged *one, size_t length)
{
	struct fp_report report = { .kind = FP_REPORT_CONTROL };
	unsigned int opcode = one->datagram[0] >> 3;

	if (opcode == DATA_V1) {
		fp_drop(one->counts, FP_DROP_DATA_V1);
	} else if (length > FP_MOST_CONTROL) {
		fp_drop(one->counts, FP_DROP_CONTROL_LONG);
	} else if (opcode < FIRST_OPCODE || opcode >= OPCODES) {
		fp_drop(one->counts, FP_DROP_OPCODE);
	} else {
		describe_path(one, &report);
		if (!fp_queue_push(&one->worker->queue, &report, one->datagram, length))
			fp_drop(one->counts, FP_DROP_CONTROL_QUEUE);
	}
}

static void special(const struct judged *one)
{
	fp_add(&one->peer->received.special_packets, 1);
	fp_add(&one->peer->received.special_octets, one->length);
}

static bool drop_opened(const struct judged *one, enum fp_drop reason)
{
	fp_drop(one->counts, reason);
	special(one);
	return false;
}

static bool tell(const struct judged *one, uint32_t kind, uint32_t other)
{
	struct fp_report report = { .kind = kind, .peer = one->peer->id, .other = other };

	describe_path(one, &report);
	if (fp_queue_push(&one->worker->queue, &report, NULL, 0))
		return true;
	fp_drop(one->counts, FP_DROP_REPORT_QUEUE);
	return false;
}

/* --- where it came from -------------------------------------------------------------------- */

static bool same_remote(const struct fp_path *path, const struct fp_arrival *arrival)
{
	return memcmp(&path->key, &arrival->from, sizeof(path->key)) == 0;
}

static bool same_local(const struct fp_path *path, const struct fp_arrival *arrival)
{
	return path->local_size == arrival->local_size &&
	       memcmp(path->local, arrival->local, path->local_size) == 0;
}

static bool place(const struct judged *one)
{
	return fp_peer_place(&one->worker->peers, one->peer, one->link, &one->arrival->from,
			     one->arrival->local, one->arrival->local_size);
}

/* An authentic datagram came another way; under the lock. True when it may be used. */
static bool moved_locked(const struct judged *one)
{
	const struct fp_path *path = atomic_load(&one->peer->path);
	struct fp_peer *owner;

	if (path != NULL && same_remote(path, one->arrival)) {
		/* Only our own address differs (multihome). The old path is freed at the next tick. */
		if (++one->peer->moves <= FP_MOST_MOVES)
			place(one);
		return true;
	}
	if (!atomic_load_explicit(&one->peer->spec.float_allowed, memory_order_relaxed) ||
	    one->link->stream) {
		fp_drop(one->counts, FP_DROP_OTHER_ADDRESS);
		return false;
	}
	owner = fp_peer_holder(&one->worker->peers, &one->arrival->from);
	if (++one->peer->moves > FP_MOST_MOVES) {
		fp_drop(one->counts, FP_DROP_MOVES);
		return owner == NULL;
	}
	if (owner != NULL) {
		tell(one, FP_REPORT_CONFLICT, owner->id);
		fp_drop(one->counts, FP_DROP_FLOAT_CONFLICT);
		return false;
	}
	/* Only the newest packet moves the peer: one that was late on the old way does not. */
	if (fp_is_newest(one->key, one->datagram) && place(one))
		tell(one, FP_REPORT_FLOATED, 0);
	return true;
}

static bool may_be_there(const struct judged *one)
{
	const struct fp_path *path = atomic_load(&one->peer->path);
	bool usable;

	if (path != NULL && same_remote(path, one->arrival) && same_local(path, one->arrival))
		return true;
	pthread_mutex_lock(&one->worker->peers.lock);
	usable = moved_locked(one);
	pthread_mutex_unlock(&one->worker->peers.lock);
	return usable;
}

/* --- what is in it ------------------------------------------------------------------------- */

static bool compressed(const struct judged *one)
{
	special(one);
	fp_drop(one->counts, FP_DROP_COMPRESSED);
	return false;
}

static bool unframe(struct judged *one, uint32_t framing)
{
	size_t before = one->length;

	if (framing == FP_FRAMING_STUB_V2) {
		if (one->packet[0] != 0x50)
			return true;
		if (one->length < 2 || one->packet[1] != 0)
			return compressed(one);
		one->packet += 2;
		one->length -= 2;
	} else if (one->packet[0] == 0xfa) {
		one->packet++;
		one->length--;
	} else if (one->packet[0] == 0xfb) {
		/* Either marker is taken: each says how it is to be undone. */
		one->length--;
		one->packet[0] = one->packet[one->length];
	} else {
		return compressed(one);
	}
	fp_add(&one->peer->received.framing, before - one->length);
	return true;
}

static bool not_ip(const struct judged *one)
{
	if (one->length == sizeof(ping) && memcmp(one->packet, ping, sizeof(ping)) == 0) {
		special(one);
	} else if (one->length >= sizeof(occ) && memcmp(one->packet, occ, sizeof(occ)) == 0) {
		special(one);
		if (one->length > sizeof(occ) && one->packet[sizeof(occ)] == OCC_EXIT)
			tell(one, FP_REPORT_EXITED, 0);
		else
			fp_drop(one->counts, FP_DROP_OCC);
	} else {
		return drop_opened(one, FP_DROP_INNER_NOT_IP);
	}
	return false;
}

static bool is_the_peers(const struct judged *one)
{
	const uint8_t *packet = one->packet, *source;
	size_t expected, size;

	if (one->length >= 40 && packet[0] >> 4 == 6) {
		expected = 40 + ((size_t)packet[4] << 8 | packet[5]);
		source = packet + 8;
		size = 16;
	} else if (one->length >= 20 && packet[0] >> 4 == 4) {
		expected = (size_t)packet[2] << 8 | packet[3];
		source = packet + 12;
		size = 4;
	} else {
		return not_ip(one);
	}
	if (expected > one->length || expected < 20)
		return drop_opened(one, FP_DROP_INNER_LENGTH);
	if (fp_route_find(&one->worker->peers.routes, source, size) != one->peer)
		return drop_opened(one, FP_DROP_INNER_SOURCE);
	/* CE, or ECT(1) as a lesser mark: the others change no inner packet. */
	if (one->arrival->traffic_class & 1 &&
	    !ovpn6_ecn_deliver(one->packet, one->arrival->traffic_class))
		return drop_opened(one, FP_DROP_INNER_ECN);
	return true;
}

/* --- one datagram -------------------------------------------------------------------------- */

static const enum fp_drop refusals[] = {
	[FP_OPEN_SHORT] = FP_DROP_MALFORMED,
	[FP_OPEN_FORGED] = FP_DROP_AUTHENTICATION,
	[FP_OPEN_REPLAYED] = FP_DROP_REPLAY,
	[FP_OPEN_UNKNOWN_EPOCH] = FP_DROP_UNKNOWN_EPOCH,
};

/* Finds the peer and its key, and opens. */
static bool open_data(struct judged *one, size_t length)
{
	uint32_t id = (uint32_t)one->datagram[1] << 16 | (uint32_t)one->datagram[2] << 8 |
		      one->datagram[3];
	enum fp_opened opened;

	one->peer = fp_peer_find(&one->worker->peers, id);
	if (one->peer == NULL) {
		fp_drop(one->counts, FP_DROP_UNKNOWN_PEER);
		return false;
	}
	/* Steered elsewhere: another thread has its keys in use. */
	if (atomic_load(&one->peer->receiver) != one->lane->index) {
		fp_drop(one->counts, FP_DROP_DATA_ELSEWHERE);
		return false;
	}
	one->key = atomic_load(&one->peer->receive[one->datagram[0] & 7]);
	if (one->key == NULL) {
		fp_drop(one->counts, FP_DROP_NO_KEY);
		return false;
	}
	opened = fp_open(one->key, (uint8_t *)one->datagram, length, &one->packet, &one->length);
	if (opened != FP_OPENED) {
		fp_drop(one->counts, refusals[opened]);
		return false;
	}
	fp_add(&one->counts->datagrams, 1);
	fp_add(&one->peer->received.packets, 1);
	fp_add(&one->peer->received.octets, one->length);
	fp_add(&one->peer->received.overhead, one->key->overhead);
	if (!one->key->confirmed)
		one->key->confirmed = tell(one, FP_REPORT_CONFIRMED, one->key->key_id);
	return true;
}

bool fp_datagram(const struct fp_lane *lane, struct fp_counts *counts, struct fp_link *link,
		 const struct fp_arrival *arrival, uint8_t *datagram, size_t length,
		 struct fp_inner *inner)
{
	struct judged one = {
		.lane = lane,
		.worker = lane->worker,
		.counts = counts,
		.link = link,
		.arrival = arrival,
		.datagram = datagram,
	};
	uint32_t framing;

	if (length == 0) {
		fp_drop(counts, FP_DROP_EMPTY);
		return false;
	}
	if (datagram[0] >> 3 != FP_DATA_V2) {
		not_data(&one, length);
		return false;
	}
	if (length < 4) {
		fp_drop(counts, FP_DROP_UNKNOWN_PEER);
		return false;
	}
	if (!open_data(&one, length))
		return false;
	if (!may_be_there(&one)) {
		special(&one);
		return false;
	}
	framing = atomic_load_explicit(&one.peer->spec.framing, memory_order_relaxed);
	if (framing != FP_FRAMING_NONE && !unframe(&one, framing))
		return false;
	if (!is_the_peers(&one))
		return false;
	inner->packet = one.packet;
	inner->length = one.length;
	return true;
}
