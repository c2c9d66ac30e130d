/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What comes out of sockets, through the receiving thread's own functions. Each datagram is judged
 * twice: what was used once must be refused. What is let through belongs to the peer that it names.
 */
#include "fuzz_worker.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "opened.h"

static bool judge_twice(const struct fp_lane *lane, struct fp_counts *counts, struct fp_link *link,
			const struct fp_arrival *arrival, uint8_t *datagram, size_t length,
			struct fp_inner *inner);

#define fp_datagram judge_twice
#include "rx.c"
#undef fp_datagram

bool fp_datagram(const struct fp_lane *lane, struct fp_counts *counts, struct fp_link *link,
		 const struct fp_arrival *arrival, uint8_t *datagram, size_t length,
		 struct fp_inner *inner);

#define MOST_TRAINS 64
/* What a peer's moves may retire before the next tick: a path each, and a few tables. */
#define MOST_RETIRED (FUZZ_PEERS * FP_MOST_MOVES + 8)

static bool judge_twice(const struct fp_lane *lane, struct fp_counts *counts, struct fp_link *link,
			const struct fp_arrival *arrival, uint8_t *datagram, size_t length,
			struct fp_inner *inner)
{
	uint8_t *again = malloc(length == 0 ? 1 : length), *packet, peer;
	struct fp_inner second;
	bool used;

	fuzz_demand(again != NULL);
	if (length > 0)
		memcpy(again, datagram, length);
	used = fp_datagram(lane, counts, link, arrival, datagram, length, inner);
	fuzz_demand(!fp_datagram(lane, counts, link, arrival, again, length, &second));
	free(again);
	if (!used)
		return false;
	packet = inner->packet;
	fuzz_demand(packet >= datagram && inner->length >= 20);
	fuzz_demand((size_t)(packet - datagram) + inner->length <= length);
	peer = datagram[3];
	if (packet[0] >> 4 == 6)
		fuzz_demand(40 + (size_t)(packet[4] << 8 | packet[5]) <= inner->length);
	else
		fuzz_demand(packet[0] >> 4 == 4 && (packet[2] << 8 | packet[3]) >= 20 &&
			    (size_t)(packet[2] << 8 | packet[3]) <= inner->length);
	if (peer != 3 && packet[0] >> 4 == 6)
		fuzz_demand(memcmp(packet + 8, "\x20\x01\x0d\xb8\0", 5) == 0 && packet[13] == peer);
	else if (peer != 3)
		fuzz_demand(packet[12] == 10 && packet[13] == peer);
	return true;
}

/* What is written looks like packets. */
static void take(void *context, const struct iovec *parts, int count, unsigned int packets)
{
	volatile uint8_t seen = 0;

	(void)context;
	fuzz_demand(count >= 2 && packets >= 1 && parts[0].iov_len == OVPN6_VNET_SIZE);
	for (int part = 0; part < count; part++) {
		for (size_t at = 0; at < parts[part].iov_len; at++)
			seen ^= ((const uint8_t *)parts[part].iov_base)[at];
	}
}

static void begin(struct fp_rx *rx, uint8_t mode)
{
	static const struct fp_tunnel tunnel = { .descriptor = 0, .vnet = true, .udp = true };

	memset(rx, 0, sizeof(*rx));
	rx->worker = fuzz_worker_new(mode);
	rx->lane = &rx->worker->lanes[0];
	rx->tunnel = &tunnel;
	ovpn6_merge_init(&rx->merger, take, rx, true);
}

void fuzz_datagrams(struct fuzz_input *input, uint8_t mode)
{
	uint8_t *octets[MOST_TRAINS];
	uint64_t before;
	size_t count = 0;
	struct fp_link *link;
	struct fp_rx *rx = malloc(sizeof(*rx));

	fuzz_demand(rx != NULL);
	begin(rx, mode);
	link = fuzz_link(rx->worker, FUZZ_UDP, -1);
	before = atomic_load(&rx->worker->peers.grace.epoch);
	while (input->left > 0 && count < MOST_TRAINS) {
		struct fp_arrival arrival = { .from.link = FUZZ_UDP };

		/* Three bits of the sender's address, the others of ours. */
		arrival.local[0] = fuzz_octet(input);
		arrival.local_size = 4;
		arrival.from.address[2] = arrival.local[0] & 7;
		arrival.local[0] >>= 3;
		arrival.traffic_class = fuzz_octet(input);
		arrival.size = fuzz_number(input);
		arrival.length = fuzz_number(input);
		octets[count] = fuzz_copy(input, &arrival.length, 0, 0);
		if (arrival.size == 0 || arrival.size > arrival.length)
			arrival.size = arrival.length;
		split(rx, link, &arrival, octets[count++]);
	}
	fuzz_demand(atomic_load(&rx->worker->peers.grace.epoch) - before <= MOST_RETIRED);
	fp_rx_tick(rx->lane, 1000000);
	ovpn6_merge_flush(&rx->merger);
	while (count > 0)
		free(octets[--count]);
	fp_worker_free(rx->worker);
	free(rx);
}

void fuzz_stream(struct fuzz_input *input, uint8_t mode)
{
	const struct fp_path_key there = { .link = FUZZ_STREAM };
	const uint8_t nowhere[1] = { 0 };
	struct fp_rx *rx = malloc(sizeof(*rx));
	struct fp_link *link;
	int ends[2];

	fuzz_demand(rx != NULL && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
	begin(rx, mode);
	rx->arena = malloc(STREAM_READ + FUZZ_MOST_FRAME);
	link = fuzz_link(rx->worker, FUZZ_STREAM, ends[0]);
	fuzz_demand(rx->arena != NULL &&
		    fp_peer_place(&rx->worker->peers, fp_peer_find(&rx->worker->peers, 4), link,
				  &there, nowhere, 0));
	while (input->left > 0 && !link->broken) {
		size_t size = fuzz_number(input);
		uint8_t *piece = fuzz_copy(input, &size, 0, 0);

		fuzz_demand(size == 0 || write(ends[1], piece, size) == (ssize_t)size);
		free(piece);
		receive_stream(rx, link);
	}
	close(ends[1]);
	if (!link->broken)
		receive_stream(rx, link);
	fp_worker_free(rx->worker);
	close(ends[0]);
	free(rx->arena);
	free(rx);
}
