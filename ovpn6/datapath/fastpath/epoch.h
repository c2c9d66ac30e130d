/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chain of epoch secrets. The reference, with the formulas, is ovpn6/protocol/epoch_keys.py.
 */
#ifndef OVPN6_FASTPATH_EPOCH_H
#define OVPN6_FASTPATH_EPOCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto.h"

#define FP_SECRET_SIZE 32
#define FP_FIRST_EPOCH 1
#define FP_LAST_EPOCH 0xffff
#define FP_FUTURE_KEYS 4
#define FP_RENEGOTIATE_EPOCH 0xf000
#define FP_LAST_SEND_EPOCH (FP_LAST_EPOCH - 16 - 1)

/**
 * struct fp_epoch_secret - E_n of one direction
 */
struct fp_epoch_secret {
	uint32_t epoch;
	uint8_t secret[FP_SECRET_SIZE];
};

/**
 * fp_epoch_follow() - from E_n to E_n+1
 *
 * Return: false when the crypto library refused; nothing has changed then.
 */
bool fp_epoch_follow(struct fp_epoch_secret *secret);

/**
 * struct fp_epoch_key - an epoch's data key
 * @epoch: 0 when there is none
 * @key: as many octets as the cipher takes
 */
struct fp_epoch_key {
	uint32_t epoch;
	uint8_t iv[FP_NONCE_SIZE];
	uint8_t key[FP_KEY_MOST];
};

/**
 * fp_epoch_derive() - the data key of a secret's epoch
 *
 * Return: false when the crypto library refused; @key is wiped then.
 */
bool fp_epoch_derive(const struct fp_epoch_secret *secret, const struct fp_aead *aead,
		     struct fp_epoch_key *key);

#endif
