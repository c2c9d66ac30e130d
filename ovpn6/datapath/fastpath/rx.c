// SPDX-License-Identifier: Apache-2.0
/*
 * A socket is read until it is empty or the arena is full; what opened is merged across reads and
 * written at the end. Datagrams are opened where they lie, so nothing is copied on the way.
 */

#include "rx.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "coalesce.h"
#include "opened.h"
#include "stream.h"
#include "udp.h"

#define ARENA (1u << 20)
#define EVENTS 32
/* What one call may need of the arena. */
#define ROOM (FP_BATCH * FP_BATCH_SLOT)
_Static_assert(ROOM >= FP_UDP_MOST, "one datagram fits where a batch does");
/* Reads of one socket before others get their turn, for small datagrams. */
#define BUDGET_READS 256
#define BUDGET_ERRORS 16
#define STREAM_READ 65536
/* Datagrams one after the other that came unmerged, after which they are taken many a call. */
#define UNMERGED 8
/* As many merged packets as the arena may hold. */
#define WAITING 16

/**
 * struct waiting - a packet for the tunnel
 * @parts: the first is @vnet
 * @packets: how many of the inner ones are in it
 */
struct waiting {
	struct ovpn6_vnet vnet;
	int count;
	unsigned int packets;
	struct iovec parts[1 + OVPN6_MERGE_SEGMENTS];
};

/**
 * struct fp_rx - the thread's own
 * @whole: the device refused what was merged: packets go into it one by one
 * @waiting: @queued of them, their octets in @arena
 * @batch: what comes unmerged; @overflowed: long datagrams in it wait to be written
 * @unmerged: datagrams that came short, one after the other
 */
struct fp_rx {
	const struct fp_lane *lane;
	struct fp_worker *worker;
	const struct fp_tunnel *tunnel;
	bool whole;
	uint8_t *arena;
	size_t used;
	struct ovpn6_merger merger;
	unsigned int queued;
	struct waiting waiting[WAITING];
	struct fp_batch *batch;
	unsigned int unmerged;
	bool overflowed;
	struct fp_counts counts;
};

struct fp_rx *fp_rx_new(struct fp_lane *lane)
{
	struct fp_rx *rx = calloc(1, sizeof(*rx));

	if (rx == NULL)
		return NULL;
	rx->lane = lane;
	rx->worker = lane->worker;
	rx->arena = malloc(ARENA);
	rx->batch = fp_batch_new();
	rx->unmerged = UNMERGED;
	if (rx->arena != NULL && rx->batch != NULL)
		return rx;
	fp_rx_free(rx);
	return NULL;
}

void fp_rx_free(struct fp_rx *rx)
{
	if (rx->batch != NULL)
		fp_batch_free(rx->batch);
	free(rx->arena);
	free(rx);
}

struct fp_counts *fp_rx_counts(struct fp_rx *rx)
{
	return &rx->counts;
}

/* --- into the tunnel ----------------------------------------------------------------------- */

static void write_failed(struct fp_rx *rx, int error, unsigned int packets)
{
	fp_error(&rx->counts, FP_CALL_TUNNEL_WRITE, error, packets);
	if (fp_is_gone(error))
		fp_worker_tunnel_lost(rx->worker, error);
}

static void give_up_merging(struct fp_rx *rx, int error)
{
	struct fp_report report = {
		.kind = FP_REPORT_NOTICE,
		.other = FP_NOTICE_NO_MERGE,
		.value = error,
	};

	rx->whole = true;
	fp_queue_push(&rx->worker->queue, &report, NULL, 0);
}

/*
 * Each write wakes who reads the flow, unless he is at it. So packets wait for each other, and he
 * is woken once and finds many.
 */
static void write_waiting(struct fp_rx *rx)
{
	for (unsigned int i = 0; i < rx->queued; i++) {
		const struct waiting *one = &rx->waiting[i];

		if (writev(rx->tunnel->descriptor, one->parts, one->count) >= 0)
			continue;
		if (errno == EINVAL && one->packets > 1 && !rx->whole)
			give_up_merging(rx, errno);
		write_failed(rx, errno, one->packets);
	}
	rx->queued = 0;
}

static void queue_merged(void *context, const struct iovec *parts, int count, unsigned int packets)
{
	struct fp_rx *rx = context;
	struct waiting *one = &rx->waiting[rx->queued++];

	memcpy(&one->vnet, parts[0].iov_base, sizeof(one->vnet));
	one->parts[0] = (struct iovec){ &one->vnet, sizeof(one->vnet) };
	memcpy(one->parts + 1, parts + 1, (size_t)(count - 1) * sizeof(*parts));
	one->count = count;
	one->packets = packets;
	if (rx->queued == WAITING)
		write_waiting(rx);
}

static void write_whole(struct fp_rx *rx, const struct fp_inner *inner)
{
	struct ovpn6_vnet vnet = { 0 };
	const struct iovec parts[2] = {
		{ &vnet, OVPN6_VNET_SIZE },
		{ inner->packet, inner->length },
	};

	if (writev(rx->tunnel->descriptor, parts, 2) < 0)
		write_failed(rx, errno, 1);
}

static void deliver(struct fp_rx *rx, const struct fp_inner *inner)
{
	if (rx->tunnel->descriptor < 0)
		fp_drop(&rx->counts, FP_DROP_TUNNEL_CLOSED);
	else if (rx->tunnel->vnet && rx->whole)
		write_whole(rx, inner);
	else if (rx->tunnel->vnet)
		ovpn6_merge_feed(&rx->merger, inner->packet, inner->length);
	else if (write(rx->tunnel->descriptor, inner->packet, inner->length) < 0)
		write_failed(rx, errno, 1);
}

static void flush(struct fp_rx *rx)
{
	ovpn6_merge_flush(&rx->merger);
	write_waiting(rx);
	rx->used = 0;
	rx->overflowed = false;
}

/* --- out of the sockets -------------------------------------------------------------------- */

static void handle(struct fp_rx *rx, struct fp_link *link, const struct fp_arrival *arrival,
		   uint8_t *datagram, size_t length)
{
	struct fp_inner inner;

	if (fp_datagram(rx->lane, &rx->counts, link, arrival, datagram, length, &inner))
		deliver(rx, &inner);
}

static void split(struct fp_rx *rx, struct fp_link *link, const struct fp_arrival *arrival,
		  uint8_t *octets)
{
	size_t at = 0;

	do {
		size_t left = arrival->length - at;
		size_t length = left < arrival->size ? left : arrival->size;

		handle(rx, link, arrival, octets + at, length);
		at += length;
	} while (at < arrival->length);
}

/* One read. Returns 0, with @more set when there may be more, or an errno. */
static int receive_one(struct fp_rx *rx, struct fp_link *link, bool *more)
{
	uint8_t *room = rx->arena + rx->used;
	struct fp_arrival arrival;
	int error = fp_udp_receive(link, rx->lane->index, room, &arrival);

	if (error != 0)
		return error;
	rx->used += arrival.length;
	rx->unmerged = arrival.length <= FP_BATCH_SLOT ? rx->unmerged + 1 : 0;
	split(rx, link, &arrival, room);
	*more = true;
	return 0;
}

/* Likewise, many datagrams where the kernel merges none. Where two come, there may be many. */
static int receive_batch(struct fp_rx *rx, struct fp_link *link, bool *more)
{
	struct fp_batch *batch = rx->batch;
	unsigned int most = rx->used == 0 ? 2 : FP_BATCH;
	int count;

	if (rx->overflowed)
		flush(rx);
	count = fp_udp_receive_batch(link, rx->lane->index, rx->arena + rx->used, batch, most);
	if (count < 0)
		return -count;
	rx->used += (size_t)count * FP_BATCH_SLOT;
	for (int i = 0; i < count; i++) {
		if (batch->arrivals[i].length > FP_BATCH_SLOT) {
			rx->overflowed = true;
			rx->unmerged = 0;
		}
		split(rx, link, &batch->arrivals[i], batch->octets[i]);
	}
	*more = (unsigned int)count == most;
	return 0;
}

static void receive_udp(struct fp_rx *rx, struct fp_link *link)
{
	bool more = true;
	int errors = 0;

	for (int reads = 0; more && reads < BUDGET_READS && errors < BUDGET_ERRORS; reads++) {
		int error;

		if (rx->used + ROOM > ARENA)
			break;
		more = false;
		error = (rx->unmerged >= UNMERGED ? receive_batch : receive_one)(rx, link, &more);
		if (error == 0 || error == EAGAIN)
			continue;
		/* An ICMP error about an earlier datagram; the call after it works. */
		fp_error(&rx->counts, FP_CALL_RECEIVE, error, 1);
		errors++;
		more = true;
	}
	flush(rx);
}

static void receive_stream(struct fp_rx *rx, struct fp_link *link)
{
	struct fp_arrival arrival = { .from.link = link->id };
	uint8_t *room = rx->arena;
	size_t length, at = 0;
	int error = fp_stream_receive(link, room, STREAM_READ + link->frame_most, &length);

	if (error == EAGAIN || error == EINTR)
		return;
	if (error != 0) {
		fp_stream_end(link, error < 0 ? FP_ENDED_BY_REMOTE : FP_ENDED_RECEIVE, error);
		return;
	}
	while (length - at >= FP_FRAME_HEADER) {
		size_t size = (size_t)room[at] << 8 | room[at + 1];

		if (size == 0 || size > link->frame_most) {
			fp_drop(&rx->counts, FP_DROP_TCP_LENGTH);
			fp_stream_end(link, FP_ENDED_LENGTH, (int)size);
			flush(rx);
			return;
		}
		if (length - at - FP_FRAME_HEADER < size)
			break;
		handle(rx, link, &arrival, room + at + FP_FRAME_HEADER, size);
		at += FP_FRAME_HEADER + size;
	}
	flush(rx);
	if (length > at && !fp_stream_keep(link, room + at, length - at))
		fp_stream_end(link, FP_ENDED_RECEIVE, ENOMEM);
}

/* After each quiescent state: the one before may be freed. Nothing waits to be written then. */
static void look_at_tunnel(struct fp_rx *rx)
{
	const struct fp_tunnel *tunnel = atomic_load(&rx->worker->tunnels) + rx->lane->index;

	rx->tunnel = tunnel;
	if (rx->merger.write == NULL || rx->merger.udp != tunnel->udp)
		ovpn6_merge_init(&rx->merger, queue_merged, rx, tunnel->udp);
}

void fp_rx_serve(struct fp_rx *rx, const struct epoll_event *event)
{
	uint32_t id = event->data.u32;
	struct fp_link *link;
	uint64_t woken;

	look_at_tunnel(rx);
	if (id == FP_NO_LINK) {
		(void)!read(rx->lane->wake_rx, &woken, sizeof(woken));
		return;
	}
	link = fp_map_find(&rx->worker->links, &id);
	/* What it had to tell was fetched before it went, or its sockets became fewer. */
	if (link == NULL || rx->lane->index >= atomic_load(&link->count))
		return;
	if (!link->stream) {
		receive_udp(rx, link);
		return;
	}
	if (event->events & EPOLLOUT)
		fp_stream_writable(link, &rx->counts);
	if (event->events & ~(uint32_t)EPOLLOUT)
		receive_stream(rx, link);
}

/* --- the thread ---------------------------------------------------------------------------- */

void fp_rx_tick(const struct fp_lane *lane, int64_t now)
{
	struct fp_worker *worker = lane->worker;
	struct fp_peer *peer;
	size_t position = 0;

	/* Each float leaves an old path behind. */
	pthread_mutex_lock(&worker->peers.lock);
	fp_grace_reap(&worker->peers.grace);
	pthread_mutex_unlock(&worker->peers.lock);
	while ((peer = fp_map_next(&worker->peers.by_id, &position)) != NULL) {
		if (atomic_load(&peer->receiver) != lane->index)
			continue;
		peer->moves = 0;
		for (unsigned int id = 0; id < FP_KEY_IDS; id++) {
			struct fp_key *key = atomic_load(&peer->receive[id]);

			if (key != NULL)
				fp_key_tick_receive(key, now);
		}
	}
}

void *fp_rx_run(void *argument)
{
	struct fp_rx *rx = argument;
	const struct fp_lane *lane = rx->lane;
	struct fp_worker *worker = rx->worker;
	unsigned int reader = fp_reader(lane, FP_READER_RX);
	int64_t due = fp_now() + FP_TICK_MILLISECONDS;

	fp_lane_name(lane, "rx");
	while (!atomic_load(&worker->stop)) {
		struct epoll_event events[EVENTS];
		int64_t now = fp_now();
		int count = epoll_wait(lane->epoll, events, EVENTS,
				       due > now ? (int)(due - now) : 0);

		fp_grace_online(&worker->peers.grace, reader);
		for (int i = 0; i < count; i++) {
			fp_rx_serve(rx, &events[i]);
			fp_grace_quiescent(&worker->peers.grace, reader);
		}
		now = fp_now();
		if (now >= due) {
			due = now + FP_TICK_MILLISECONDS;
			fp_rx_tick(lane, now);
		}
		fp_grace_offline(&worker->peers.grace, reader);
	}
	return NULL;
}
