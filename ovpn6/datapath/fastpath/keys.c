// SPDX-License-Identifier: Apache-2.0
/*
 * Two formats, one structure: a classic key is one epoch that never ends.
 *
 *	classic	| opcode, key id | peer id (3) | packet id (4) | tag (16) | ciphertext |
 *	epoch	| opcode, key id | peer id (3) | epoch (2) | counter (6) | ciphertext | tag (16) |
 */

#include "keys.h"

#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "counts.h"

#define CLASSIC_IV 8
#define LAST_CLASSIC_ID 0xffffffffull
#define WRAP_TRIGGER 0xff000000ull
#define LAST_COUNTER ((1ull << 48) - 1)
/* Octets of a payload, with room for what framing adds to the largest packet. */
#define MOST_PAYLOAD 65552

static uint64_t usage(uint64_t octets, uint64_t packets)
{
	return octets / 16 + 2 * packets;
}

/* --- sending ------------------------------------------------------------------------------- */

static bool enter_epoch(struct fp_key *key, const struct fp_epoch_secret *secret)
{
	struct fp_send_key *send = &key->send;
	struct fp_epoch_key next;
	void *state = NULL;

	if (fp_epoch_derive(secret, key->aead, &next))
		state = key->aead->setup(key->aead, next.key, true);
	if (state != NULL) {
		if (send->packet_id & LAST_COUNTER)
			send->sealed_in = send->secret.epoch;
		if (send->state != NULL)
			key->aead->wipe(send->state);
		send->state = state;
		send->secret = *secret;
		memcpy(send->iv, next.iv, sizeof(next.iv));
		send->earlier_octets = fp_read(&send->octets);
		send->packet_id = (uint64_t)secret->epoch << 48;
		send->review_after = send->packet_id;
		atomic_store_explicit(&send->epoch, secret->epoch, memory_order_relaxed);
	}
	fp_crypto_wipe(&next, sizeof(next));
	return state != NULL;
}

/* Go on in an epoch, or as near to it as may be sent in; never back. */
static bool reach_epoch(struct fp_key *key, uint32_t epoch)
{
	struct fp_epoch_secret secret = key->send.secret;
	bool done = true;

	if (epoch > FP_LAST_SEND_EPOCH)
		epoch = FP_LAST_SEND_EPOCH;
	while (done && secret.epoch < epoch)
		done = fp_epoch_follow(&secret);
	if (done && secret.epoch != key->send.secret.epoch)
		done = enter_epoch(key, &secret);
	fp_crypto_wipe(&secret, sizeof(secret));
	return done;
}

/*
 * The other end is in an epoch, or ought to be: go there, as far as it can open. It has no keys
 * beyond those after the epoch that it heard us in, however far it went itself.
 */
static bool follow(struct fp_key *key, uint64_t wanted)
{
	struct fp_send_key *send = &key->send;
	uint32_t epoch = (uint32_t)wanted, most = send->sealed_in;

	send->answered = wanted;
	if (send->packet_id & LAST_COUNTER)
		most = send->secret.epoch;
	most += FP_FUTURE_KEYS;
	return reach_epoch(key, epoch < most ? epoch : most);
}

/* The receiving thread's wish; it is looked at before the next packet. */
static void ask_to_follow(struct fp_key *key, uint32_t epoch)
{
	uint64_t before = fp_read(&key->send.wanted);

	atomic_store_explicit(&key->send.wanted, ((before >> 32) + 1) << 32 | epoch,
			      memory_order_relaxed);
}

/* Whether one more packet may be sealed in this epoch, else go to the next. */
static bool review_epoch(struct fp_key *key)
{
	struct fp_send_key *send = &key->send;
	uint64_t counter = send->packet_id & LAST_COUNTER, limit = key->limits.usage;
	uint64_t used = usage(fp_read(&send->octets) - send->earlier_octets, counter), left;

	if (counter >= LAST_COUNTER || (limit != FP_NO_LIMIT && used > limit)) {
		if (send->secret.epoch >= FP_LAST_SEND_EPOCH ||
		    !reach_epoch(key, send->secret.epoch + 1))
			return false;
		used = 0;
	}
	send->review_after = (uint64_t)send->secret.epoch << 48 | LAST_COUNTER;
	if (limit != FP_NO_LIMIT) {
		left = limit > used ? (limit - used) / usage(MOST_PAYLOAD, 1) : 0;
		if (left < send->review_after - send->packet_id)
			send->review_after = send->packet_id + 1 + left;
	}
	return true;
}

static bool seal_epoch(struct fp_key *key, const uint8_t *payload, size_t length,
		       uint8_t *datagram)
{
	struct fp_send_key *send = &key->send;
	uint64_t wanted = fp_read(&send->wanted);
	uint8_t nonce[FP_NONCE_SIZE];
	uint8_t *sealed = datagram + FP_EPOCH_HEADER;

	if (wanted != send->answered && !follow(key, wanted))
		return false;
	if (send->packet_id >= send->review_after && !review_epoch(key))
		return false;
	send->packet_id++;
	memcpy(datagram, send->prefix, 4);
	fp_put64(datagram + 4, send->packet_id);
	memcpy(nonce, send->iv, sizeof(nonce));
	for (int i = 0; i < 8; i++)
		nonce[i] ^= datagram[4 + i];
	return key->aead->seal(send->state, nonce, datagram, FP_EPOCH_HEADER, payload, sealed,
			       length, sealed + length);
}

static bool seal_classic(struct fp_key *key, const uint8_t *payload, size_t length,
			 uint8_t *datagram)
{
	struct fp_send_key *send = &key->send;
	uint8_t nonce[FP_NONCE_SIZE];

	if (send->packet_id >= LAST_CLASSIC_ID)
		return false;
	send->packet_id++;
	memcpy(datagram, send->prefix, 4);
	fp_put32(datagram + 4, (uint32_t)send->packet_id);
	memcpy(nonce, datagram + 4, 4);
	memcpy(nonce + 4, send->iv, CLASSIC_IV);
	return key->aead->seal(send->state, nonce, datagram, FP_CLASSIC_HEADER, payload,
			       datagram + FP_CLASSIC_HEADER + FP_TAG_SIZE, length,
			       datagram + FP_CLASSIC_HEADER);
}

bool fp_seal(struct fp_key *key, const uint8_t *payload, size_t length, uint8_t *datagram)
{
	if (!(key->epoch ? seal_epoch : seal_classic)(key, payload, length, datagram))
		return false;
	fp_add(&key->send.packets, 1);
	fp_add(&key->send.octets, length);
	return true;
}

/* --- receiving ----------------------------------------------------------------------------- */

static void free_opening(const struct fp_aead *aead, struct fp_opening *opening)
{
	if (opening == NULL)
		return;
	if (opening->state != NULL)
		aead->wipe(opening->state);
	fp_replay_free(&opening->replay);
	fp_crypto_wipe(opening, sizeof(*opening));
	free(opening);
}

static struct fp_opening *new_opening(const struct fp_key *key)
{
	struct fp_opening *opening = calloc(1, sizeof(*opening));

	if (opening == NULL)
		return NULL;
	if (fp_replay_init(&opening->replay, key->receive.window,
			   key->receive.window_milliseconds))
		return opening;
	free(opening);
	return NULL;
}

static struct fp_opening *epoch_opening(const struct fp_key *key, const struct fp_epoch_key *epoch,
					void *state)
{
	struct fp_opening *opening = new_opening(key);

	if (opening == NULL)
		return NULL;
	opening->epoch = epoch->epoch;
	memcpy(opening->iv, epoch->iv, sizeof(opening->iv));
	opening->state = state;
	return opening;
}

/* Fill the places of future keys that are empty; an epoch too few is no error. */
static void derive_future(struct fp_key *key)
{
	struct fp_receive_key *receive = &key->receive;

	for (unsigned int i = 0; i < FP_FUTURE_KEYS; i++) {
		if (receive->future[i].key.epoch != 0)
			continue;
		if (!fp_epoch_follow(&receive->secret) ||
		    !fp_epoch_derive(&receive->secret, key->aead, &receive->future[i].key))
			return;
	}
}

static struct fp_opening *find_begun(const struct fp_receive_key *receive, uint32_t epoch)
{
	struct fp_opening *current =
		atomic_load_explicit(&receive->current, memory_order_relaxed);

	if (current->epoch == epoch)
		return current;
	return receive->past != NULL && receive->past->epoch == epoch ? receive->past : NULL;
}

static struct fp_future *find_future(struct fp_receive_key *receive, uint32_t epoch)
{
	for (unsigned int i = 0; epoch != 0 && i < FP_FUTURE_KEYS; i++) {
		if (receive->future[i].key.epoch == epoch)
			return &receive->future[i];
	}
	return NULL;
}

/* An authentic packet came in a future epoch, which becomes the current one. */
static struct fp_opening *advance(struct fp_key *key, const struct fp_future *future, void *state)
{
	struct fp_receive_key *receive = &key->receive;
	struct fp_opening *opening = epoch_opening(key, &future->key, state);
	size_t over = (size_t)(future - receive->future) + 1;

	if (opening == NULL)
		return NULL;
	atomic_store_explicit(&opening->failures, future->failures, memory_order_relaxed);
	memmove(receive->future, receive->future + over,
		(FP_FUTURE_KEYS - over) * sizeof(*receive->future));
	fp_crypto_wipe(receive->future + FP_FUTURE_KEYS - over, over * sizeof(*receive->future));
	free_opening(key->aead, receive->past);
	receive->past = atomic_exchange_explicit(&receive->current, opening, memory_order_relaxed);
	atomic_store_explicit(&receive->epoch, opening->epoch, memory_order_relaxed);
	derive_future(key);
	ask_to_follow(key, opening->epoch);
	return opening;
}

static void failed(struct fp_key *key, struct fp_opening *opening)
{
	fp_add(&opening->failures, 1);
	if (fp_read(&opening->failures) <= key->limits.failures)
		return;
	key->aead->wipe(opening->state);
	opening->state = NULL;
}

static enum fp_opened accept_id(struct fp_key *key, struct fp_opening *opening, uint64_t id,
				size_t length)
{
	if (!fp_replay_accept(&opening->replay, id))
		return FP_OPEN_REPLAYED;
	fp_add(&key->receive.packets, 1);
	fp_add(&opening->octets, length);
	return FP_OPENED;
}

static bool open_sealed(const struct fp_key *key, void *state, const uint8_t *iv,
			uint8_t *datagram, size_t length)
{
	uint8_t *sealed = datagram + FP_EPOCH_HEADER;
	uint8_t nonce[FP_NONCE_SIZE];

	if (state == NULL)
		return false;
	memcpy(nonce, iv, sizeof(nonce));
	for (int i = 0; i < 8; i++)
		nonce[i] ^= datagram[4 + i];
	return key->aead->open(state, nonce, datagram, FP_EPOCH_HEADER, sealed, sealed, length,
			       sealed + length);
}

static enum fp_opened open_future(struct fp_key *key, struct fp_future *future, uint8_t *datagram,
				  size_t length)
{
	uint64_t counter = fp_get64(datagram + 4) & LAST_COUNTER;
	struct fp_opening *opening;
	void *state;

	if (future->failures > key->limits.failures)
		return FP_OPEN_FORGED;
	state = key->aead->setup(key->aead, future->key.key, false);
	if (!open_sealed(key, state, future->key.iv, datagram, length)) {
		future->failures++;
		if (state != NULL)
			key->aead->wipe(state);
		return FP_OPEN_FORGED;
	}
	opening = counter == 0 ? NULL : advance(key, future, state);
	if (opening == NULL) {
		key->aead->wipe(state);
		return FP_OPEN_REPLAYED;
	}
	return accept_id(key, opening, counter, length);
}

static enum fp_opened open_epoch(struct fp_key *key, uint8_t *datagram, size_t length,
				 uint8_t **payload, size_t *payload_length)
{
	uint64_t id = fp_get64(datagram + 4);
	struct fp_opening *opening = find_begun(&key->receive, (uint32_t)(id >> 48));
	struct fp_future *future = find_future(&key->receive, (uint32_t)(id >> 48));

	length -= FP_EPOCH_HEADER + FP_TAG_SIZE;
	*payload = datagram + FP_EPOCH_HEADER;
	*payload_length = length;
	if (opening == NULL)
		return future == NULL ? FP_OPEN_UNKNOWN_EPOCH :
					open_future(key, future, datagram, length);
	if (open_sealed(key, opening->state, opening->iv, datagram, length))
		return accept_id(key, opening, id & LAST_COUNTER, length);
	if (opening->state != NULL)
		failed(key, opening);
	return FP_OPEN_FORGED;
}

static enum fp_opened open_classic(struct fp_key *key, uint8_t *datagram, size_t length,
				   uint8_t **payload, size_t *payload_length)
{
	struct fp_opening *opening =
		atomic_load_explicit(&key->receive.current, memory_order_relaxed);
	uint8_t *tag = datagram + FP_CLASSIC_HEADER, *sealed = tag + FP_TAG_SIZE;
	uint8_t nonce[FP_NONCE_SIZE];

	if (opening->state == NULL)
		return FP_OPEN_FORGED;
	memcpy(nonce, datagram + 4, 4);
	memcpy(nonce + 4, opening->iv, CLASSIC_IV);
	length -= FP_CLASSIC_HEADER + FP_TAG_SIZE;
	if (!key->aead->open(opening->state, nonce, datagram, FP_CLASSIC_HEADER, sealed, sealed,
			     length, tag)) {
		failed(key, opening);
		return FP_OPEN_FORGED;
	}
	*payload = sealed;
	*payload_length = length;
	return accept_id(key, opening, fp_get32(datagram + 4), length);
}

enum fp_opened fp_open(struct fp_key *key, uint8_t *datagram, size_t length, uint8_t **payload,
		       size_t *payload_length)
{
	if (length <= key->overhead)
		return FP_OPEN_SHORT;
	return (key->epoch ? open_epoch : open_classic)(key, datagram, length, payload,
							payload_length);
}

bool fp_is_newest(const struct fp_key *key, const uint8_t *datagram)
{
	const struct fp_opening *current =
		atomic_load_explicit(&key->receive.current, memory_order_relaxed);
	uint64_t highest = fp_read(&current->replay.highest);

	if (!key->epoch)
		return fp_get32(datagram + 4) == highest;
	return fp_get64(datagram + 4) == ((uint64_t)current->epoch << 48 | highest);
}

void fp_key_tick_receive(struct fp_key *key, int64_t now)
{
	struct fp_receive_key *receive = &key->receive;
	struct fp_opening *current =
		atomic_load_explicit(&receive->current, memory_order_relaxed);
	uint64_t used = usage(fp_read(&current->octets), fp_read(&current->replay.highest));
	uint64_t limit = key->limits.usage;
	bool worn_out = fp_read(&current->failures) > key->limits.failures / 2;

	fp_replay_tick(&current->replay, now);
	if (receive->past != NULL)
		fp_replay_tick(&receive->past->replay, now);
	if (!key->epoch) {
		worn_out |= limit != FP_NO_LIMIT && used > limit / 8 * 7;
		atomic_store_explicit(&receive->worn_out, worn_out, memory_order_relaxed);
		return;
	}
	worn_out |= limit != FP_NO_LIMIT && used > limit;
	/* The other end follows when it hears us in the next epoch. */
	worn_out &= current->epoch ==
		    atomic_load_explicit(&key->send.epoch, memory_order_relaxed);
	ask_to_follow(key, current->epoch + worn_out);
}

bool fp_key_worn_out(const struct fp_key *key)
{
	const struct fp_send_key *send = &key->send;
	uint64_t limit = key->limits.usage;

	if (key->epoch)
		return send->secret.epoch >= FP_RENEGOTIATE_EPOCH;
	if (send->packet_id >= WRAP_TRIGGER)
		return true;
	if (limit != FP_NO_LIMIT && usage(fp_read(&send->octets), send->packet_id) > limit / 8 * 7)
		return true;
	return atomic_load_explicit(&key->receive.worn_out, memory_order_relaxed);
}

/* --- life ---------------------------------------------------------------------------------- */

static bool set_up_classic(struct fp_key *key, const struct fp_key_order *order)
{
	struct fp_opening *opening = new_opening(key);

	if (opening == NULL)
		return false;
	atomic_store(&key->receive.current, opening);
	memcpy(key->send.iv, order->send_iv, CLASSIC_IV);
	memcpy(opening->iv, order->receive_iv, CLASSIC_IV);
	key->send.state = key->aead->setup(key->aead, order->send_key, true);
	opening->state = key->aead->setup(key->aead, order->receive_key, false);
	return key->send.state != NULL && opening->state != NULL;
}

static bool set_up_epoch(struct fp_key *key, const struct fp_key_order *order)
{
	struct fp_receive_key *receive = &key->receive;
	struct fp_epoch_secret first = { .epoch = FP_FIRST_EPOCH };
	struct fp_opening *opening = NULL;
	struct fp_epoch_key epoch;
	bool done;

	key->send.sealed_in = FP_FIRST_EPOCH;
	memcpy(first.secret, order->send_key, FP_SECRET_SIZE);
	done = enter_epoch(key, &first);
	memcpy(first.secret, order->receive_key, FP_SECRET_SIZE);
	receive->secret = first;
	receive->future = calloc(FP_FUTURE_KEYS, sizeof(*receive->future));
	if (fp_epoch_derive(&first, key->aead, &epoch))
		opening = epoch_opening(key, &epoch, key->aead->setup(key->aead, epoch.key, false));
	fp_crypto_wipe(&first, sizeof(first));
	fp_crypto_wipe(&epoch, sizeof(epoch));
	atomic_store(&receive->current, opening);
	if (!done || opening == NULL || opening->state == NULL || receive->future == NULL)
		return false;
	atomic_store(&receive->epoch, opening->epoch);
	derive_future(key);
	return true;
}

struct fp_key *fp_key_new(const struct fp_key_order *order)
{
	struct fp_key *key = calloc(1, sizeof(*key));

	if (key == NULL)
		return NULL;
	key->aead = order->aead;
	key->limits = order->limits;
	key->epoch = order->epoch;
	key->key_id = order->key_id;
	key->overhead = (order->epoch ? FP_EPOCH_HEADER : FP_CLASSIC_HEADER) + FP_TAG_SIZE;
	fp_put32(key->send.prefix, (uint32_t)(FP_DATA_V2 << 3 | order->key_id) << 24 | order->send_id);
	key->receive.window = order->window;
	key->receive.window_milliseconds = order->window_milliseconds;
	if ((order->epoch ? set_up_epoch : set_up_classic)(key, order))
		return key;
	fp_key_free(key);
	return NULL;
}

void fp_key_free(struct fp_key *key)
{
	if (key == NULL)
		return;
	if (key->send.state != NULL)
		key->aead->wipe(key->send.state);
	free_opening(key->aead, atomic_load(&key->receive.current));
	free_opening(key->aead, key->receive.past);
	if (key->receive.future != NULL)
		fp_crypto_wipe(key->receive.future, FP_FUTURE_KEYS * sizeof(struct fp_future));
	free(key->receive.future);
	fp_crypto_wipe(key, sizeof(*key));
	free(key);
}
