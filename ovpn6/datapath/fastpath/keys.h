/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One installed key: seal and open in the classic and in the epoch format, replay, usage limits.
 * The references are ovpn6/protocol/data_channel.py and epoch_channel.py, where the formats and
 * the rules are written down.
 */
#ifndef OVPN6_FASTPATH_KEYS_H
#define OVPN6_FASTPATH_KEYS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto.h"
#include "epoch.h"
#include "replay.h"

#define FP_DATA_V2 9
#define FP_CLASSIC_HEADER 8
#define FP_EPOCH_HEADER 12
#define FP_OVERHEAD_MOST (FP_EPOCH_HEADER + FP_TAG_SIZE)
#define FP_NO_LIMIT UINT64_MAX

/**
 * struct fp_key_limits - how much a key may do
 * @usage: blocks of 16 octets plus packets in a key, or in an epoch; FP_NO_LIMIT is none
 * @failures: openings that may fail
 */
struct fp_key_limits {
	uint64_t usage;
	uint64_t failures;
};

/**
 * struct fp_key_order - what is to be installed
 * @epoch: the epoch format; keys are then FP_SECRET_SIZE octets and there are no implicit IVs
 * @send_id: the 24-bit peer id that the other end knows us by
 * @send_key: @aead->key_size octets; @send_iv 8; likewise for receiving
 */
struct fp_key_order {
	const struct fp_aead *aead;
	struct fp_key_limits limits;
	bool epoch;
	uint8_t key_id;
	uint32_t send_id;
	uint32_t window;
	uint32_t window_milliseconds;
	const uint8_t *send_key;
	const uint8_t *send_iv;
	const uint8_t *receive_key;
	const uint8_t *receive_iv;
};

/**
 * struct fp_send_key - seals; the sending thread's
 * @packet_id: the last one used, with the epoch in its upper 16 bits in that format
 * @packets: sealed under all epochs; others may read both
 * @octets: payloads of all epochs
 * @wanted: epoch to go on to, in the lower half; each wish has another upper half. Written by the
 *	receiving thread
 * @answered: the last wish looked at
 * @sealed_in: the epoch before this one in which anything was sealed
 * @review_after: packet id after which the usage is looked at
 */
struct fp_send_key {
	void *state;
	uint8_t prefix[4];
	uint8_t iv[FP_NONCE_SIZE];
	uint64_t packet_id;
	_Atomic uint64_t packets;
	_Atomic uint64_t octets;
	_Atomic uint64_t wanted;
	uint64_t answered;
	uint32_t sealed_in;
	_Atomic uint32_t epoch;
	uint64_t review_after;
	uint64_t earlier_octets;
	struct fp_epoch_secret secret;
};

/**
 * struct fp_opening - opens, in one epoch that has begun
 * @state: NULL when it failed too often
 * @octets: payloads opened; others may read it and @failures
 */
struct fp_opening {
	void *state;
	uint8_t iv[FP_NONCE_SIZE];
	uint32_t epoch;
	_Atomic uint64_t octets;
	_Atomic uint64_t failures;
	struct fp_replay replay;
};

/**
 * struct fp_future - an epoch to come
 *
 * Its key is derived in advance, and expanded only to look at a packet that claims its epoch: a
 * stranger's packet costs a key schedule, and no memory.
 */
struct fp_future {
	struct fp_epoch_key key;
	uint64_t failures;
};

/**
 * struct fp_receive_key - opens; the receiving thread's
 * @current: the latest epoch heard; the only one in the classic format
 * @past: the one before it, NULL when there is none
 * @future: FP_FUTURE_KEYS epochs after it, without gaps; NULL in the classic format
 * @secret: of the last future epoch
 * @packets: that opened, under all epochs; others may read it
 */
struct fp_receive_key {
	_Atomic(struct fp_opening *) current;
	struct fp_opening *past;
	struct fp_future *future;
	struct fp_epoch_secret secret;
	_Atomic uint64_t packets;
	_Atomic uint32_t epoch;
	_Atomic bool worn_out;
	uint32_t window;
	uint32_t window_milliseconds;
};

/**
 * struct fp_key - both directions
 * @overhead: octets that sealing adds
 * @confirmed: its first packet was told; the receiving thread's
 * @told_worn_out: the sending thread's
 */
struct fp_key {
	const struct fp_aead *aead;
	struct fp_key_limits limits;
	bool epoch;
	uint8_t key_id;
	uint8_t overhead;
	bool confirmed;
	bool told_worn_out;
	struct fp_send_key send;
	struct fp_receive_key receive;
};

enum fp_opened {
	FP_OPENED,
	FP_OPEN_SHORT,
	FP_OPEN_FORGED,
	FP_OPEN_REPLAYED,
	FP_OPEN_UNKNOWN_EPOCH,
};

/**
 * fp_key_new() - a key that has sealed and opened nothing
 *
 * Return: NULL without memory.
 */
struct fp_key *fp_key_new(const struct fp_key_order *order);

/**
 * fp_key_free() - overwrite and free; nobody may use it any more
 */
void fp_key_free(struct fp_key *key);

/**
 * fp_seal() - make a datagram; the sending thread
 * @payload: apart from @datagram
 * @datagram: room for @length + @key->overhead octets
 *
 * Return: false when the key is exhausted.
 */
bool fp_seal(struct fp_key *key, const uint8_t *payload, size_t length, uint8_t *datagram);

/**
 * fp_open() - the payload of a datagram, where it lies; the receiving thread
 * @datagram: of opcode P_DATA_V2 and this key's id
 * @payload: set when it opened, to a place in @datagram
 * @payload_length: likewise, at least 1
 */
enum fp_opened fp_open(struct fp_key *key, uint8_t *datagram, size_t length, uint8_t **payload,
		       size_t *payload_length);

/**
 * fp_is_newest() - whether no later datagram than this, which opened, has opened
 */
bool fp_is_newest(const struct fp_key *key, const uint8_t *datagram);

/**
 * fp_key_tick_receive() - about once a second in the receiving thread
 * @now: milliseconds
 */
void fp_key_tick_receive(struct fp_key *key, int64_t now);

/**
 * fp_key_worn_out() - whether a new negotiation is wanted soon; the sending thread
 */
bool fp_key_worn_out(const struct fp_key *key);

#endif
