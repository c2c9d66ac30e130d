/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One input for the worker's parsers. Its first octet says what the rest is:
 *
 *	bits 0, 1	0 datagrams, 1 a stream, 2 the tunnel, 3 prefixes
 *	bits 2, 3	how peers frame (enum fp_framing)
 *	bit 4		the tunnel has vnet headers
 */
#include "fuzz_worker.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define WINDOW 64
#define MOST_FAILURES 16
#define MOST_PREFIXES 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);

/* --- input --------------------------------------------------------------------------------- */

uint8_t fuzz_octet(struct fuzz_input *input)
{
	if (input->left == 0)
		return 0;
	input->left--;
	return *input->at++;
}

uint16_t fuzz_number(struct fuzz_input *input)
{
	uint16_t low = fuzz_octet(input);

	return (uint16_t)(low | fuzz_octet(input) << 8);
}

uint8_t *fuzz_copy(struct fuzz_input *input, size_t *size, size_t before, size_t behind)
{
	uint8_t *made;
	size_t total;

	if (*size > input->left)
		*size = input->left;
	total = before + *size + behind;
	made = calloc(1, total == 0 ? 1 : total);
	fuzz_demand(made != NULL);
	if (*size > 0)
		memcpy(made + before, input->at, *size);
	input->at += *size;
	input->left -= *size;
	return made;
}

void fuzz_demand(bool holds)
{
	if (!holds)
		abort();
}

/* --- a cipher that hides nothing ----------------------------------------------------------- */

static void *setup(const struct fp_aead *aead, const uint8_t *key, bool sealing)
{
	uint8_t *state = malloc(aead->key_size);

	(void)sealing;
	fuzz_demand(state != NULL);
	memcpy(state, key, aead->key_size);
	return state;
}

static void wipe(void *state)
{
	free(state);
}

/* Looks at every octet that a cipher would look at. */
static uint8_t look(const uint8_t *at, size_t length)
{
	uint8_t seen = 0;

	for (size_t i = 0; i < length; i++)
		seen ^= at[i];
	return seen;
}

static bool seal(void *state, const uint8_t *nonce, const uint8_t *aad, size_t aad_length,
		 const uint8_t *in, uint8_t *out, size_t length, uint8_t *tag)
{
	uint8_t seen = look(state, 1) ^ look(nonce, FP_NONCE_SIZE) ^ look(aad, aad_length);

	memcpy(out, in, length);
	memset(tag, 0, FP_TAG_SIZE);
	tag[0] = seen;
	return true;
}

static bool unseal(void *state, const uint8_t *nonce, const uint8_t *aad, size_t aad_length,
		   const uint8_t *in, uint8_t *out, size_t length, const uint8_t *tag)
{
	volatile uint8_t seen = look(state, 1) ^ look(nonce, FP_NONCE_SIZE) ^
				look(aad, aad_length) ^ look(tag, FP_TAG_SIZE);

	(void)seen;
	memmove(out, in, length);
	return tag[FP_TAG_SIZE - 1] != FUZZ_FORGED;
}

static const struct fp_aead plain = { "PLAIN", 32, setup, wipe, seal, unseal };

/* --- a worker ------------------------------------------------------------------------------ */

static void add_key(struct fp_peer *peer, unsigned int slot, bool epoch)
{
	static const uint8_t octets[FP_SECRET_SIZE] = { 1 };
	const struct fp_key_order order = {
		.aead = &plain,
		.limits = { FP_NO_LIMIT, MOST_FAILURES },
		.epoch = epoch,
		.key_id = (uint8_t)slot,
		.send_id = peer->id,
		.window = WINDOW,
		.send_key = octets,
		.send_iv = octets,
		.receive_key = octets,
		.receive_iv = octets,
	};
	struct fp_key *key = fp_key_new(&order);

	fuzz_demand(key != NULL);
	fp_peer_install(peer, slot, key);
}

static void lead(struct fp_worker *worker, struct fp_peer *peer, const uint8_t *prefix, size_t size,
		 unsigned int length)
{
	bool failed;

	fp_route_set(&worker->peers.routes, &worker->peers.grace, prefix, size, length, peer,
		     &failed);
	fuzz_demand(!failed);
}

static void add_peer(struct fp_worker *worker, uint32_t id, uint32_t framing)
{
	const uint8_t six[16] = { 0x20, 0x01, 0x0d, 0xb8, 0, (uint8_t)id }, four[4] = { 10, (uint8_t)id };
	static const uint8_t nothing[16];
	bool epoch = id % 2 == 0;
	struct fp_peer *peer;

	fuzz_demand(fp_peer_add(&worker->peers, id, &peer) == 0);
	atomic_store(&peer->spec.framing, framing);
	atomic_store(&peer->spec.send_id, id);
	atomic_store(&peer->spec.float_allowed, true);
	atomic_store(&peer->spec.copy_ecn, id == 1);
	for (unsigned int slot = 0; slot < (epoch ? 1u : 2u); slot++)
		add_key(peer, slot, epoch);
	lead(worker, peer, id == 3 ? nothing : six, 16, id == 3 ? 0 : 48);
	lead(worker, peer, id == 3 ? nothing : four, 4, id == 3 ? 0 : 16);
}

struct fp_worker *fuzz_worker_new(uint8_t mode)
{
	struct fp_worker *worker = calloc(1, sizeof(*worker));
	struct fp_tunnel *tunnel = calloc(1, sizeof(*tunnel));
	struct fp_lane *lane = &worker->lanes[0];

	fuzz_demand(worker != NULL && tunnel != NULL && fp_queue_init(&worker->queue) == 0);
	worker->steering.map = worker->steering.program = -1;
	worker->count = 1;
	lane->worker = worker;
	lane->epoll = lane->wake_rx = lane->wake_tx = -1;
	worker->window = WINDOW;
	worker->label_flows = true;
	pthread_mutex_init(&lane->request_lock, NULL);
	pthread_cond_init(&lane->request_done, NULL);
	fp_peers_init(&worker->peers, 1);
	fp_map_init(&worker->links, offsetof(struct fp_link, id), sizeof(uint32_t));
	atomic_store(&worker->tunnels, tunnel);
	for (uint32_t id = 1; id <= FUZZ_PEERS; id++)
		add_peer(worker, id, mode >> 2 & 3);
	return worker;
}

struct fp_link *fuzz_link(struct fp_worker *worker, uint32_t id, int descriptor)
{
	struct fp_link *link = fp_link_new(id, &descriptor, 1, &worker->queue);
	void *replaced;

	fuzz_demand(link != NULL);
	link->family = AF_INET6;
	link->stream = id == FUZZ_STREAM;
	link->frame_most = FUZZ_MOST_FRAME;
	fuzz_demand(fp_map_put(&worker->links, &worker->peers.grace, link, &replaced));
	return link;
}

/* --- prefixes ------------------------------------------------------------------------------ */

struct known {
	uint8_t address[16];
	size_t size;
	unsigned int length;
	struct fp_peer *peer;
};

static void mask(uint8_t *address, size_t size, unsigned int length)
{
	for (unsigned int bit = length; bit < 8 * size; bit++)
		address[bit / 8] &= (uint8_t)~(0x80u >> bit % 8);
}

static bool reserved(const uint8_t *address, size_t size)
{
	static const uint8_t zeros[16];

	if (size == 4)
		return address[0] == 0 || address[0] == 127 || address[0] >= 224 ||
		       (address[0] == 169 && address[1] == 254);
	return (memcmp(address, zeros, 15) == 0 && address[15] < 2) || address[0] == 255 ||
	       (address[0] == 254 && address[1] >> 6 == 2);
}

static struct fp_peer *find_plainly(const struct known *list, size_t count, const uint8_t *address,
				    size_t size)
{
	const struct known *best = NULL;

	if (reserved(address, size))
		return NULL;
	for (size_t i = 0; i < count; i++) {
		uint8_t masked[16];

		if (list[i].peer == NULL || list[i].size != size)
			continue;
		memcpy(masked, address, size);
		mask(masked, size, list[i].length);
		if (memcmp(masked, list[i].address, size) == 0 &&
		    (best == NULL || list[i].length > best->length))
			best = &list[i];
	}
	return best == NULL ? NULL : best->peer;
}

/* The place of a prefix in the list, or a new one; NULL when the list is full. */
static struct known *place(struct known *list, size_t *count, const struct known *wanted)
{
	for (size_t i = 0; i < *count; i++) {
		if (list[i].size == wanted->size && list[i].length == wanted->length &&
		    memcmp(list[i].address, wanted->address, wanted->size) == 0)
			return &list[i];
	}
	if (*count == MOST_PREFIXES)
		return NULL;
	list[*count] = *wanted;
	return &list[(*count)++];
}

void fuzz_prefixes(struct fuzz_input *input)
{
	static struct fp_peer peers[4];
	struct known list[MOST_PREFIXES];
	struct fp_routes routes;
	struct fp_grace grace;
	size_t count = 0;

	fp_routes_init(&routes);
	fp_grace_init(&grace);
	while (input->left > 1) {
		uint8_t what = fuzz_octet(input);
		struct known one = { .size = what & 1 ? 16 : 4 }, *known;
		size_t size = one.size;
		uint8_t *address;
		bool failed;

		one.length = fuzz_octet(input) % (8 * (unsigned int)one.size + 1);
		address = fuzz_copy(input, &size, 0, 16);
		memcpy(one.address, address, one.size);
		free(address);
		fuzz_demand(fp_route_find(&routes, one.address, one.size) ==
			    find_plainly(list, count, one.address, one.size));
		mask(one.address, one.size, one.length);
		known = what & 6 ? place(list, &count, &one) : NULL;
		if (known == NULL)
			continue;
		if (what & 8) {
			fuzz_demand(fp_route_remove(&routes, &grace, one.address, one.size,
						    one.length) == known->peer);
			known->peer = NULL;
		} else {
			struct fp_peer *peer = &peers[what >> 4 & 3];

			fuzz_demand(fp_route_set(&routes, &grace, one.address, one.size, one.length,
						 peer, &failed) == known->peer);
			known->peer = peer;
		}
		fp_grace_reap(&grace);
	}
	fp_routes_free(&routes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
	struct fuzz_input input = { data, length };
	uint8_t mode = fuzz_octet(&input);

	switch (mode & 3) {
	case 0:
		fuzz_datagrams(&input, mode);
		break;
	case 1:
		fuzz_stream(&input, mode);
		break;
	case 2:
		fuzz_tunnel(&input, mode);
		break;
	default:
		fuzz_prefixes(&input);
	}
	return 0;
}
