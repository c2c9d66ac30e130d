// SPDX-License-Identifier: Apache-2.0
/* HKDF-Expand-Label of TLS 1.3 with "ovpn " for a prefix; no output is longer than one block. */

#include "epoch.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#define MOST_LABEL 16

static bool expand(const struct fp_epoch_secret *secret, const char *label, uint8_t *out,
		   size_t size)
{
	static const char prefix[] = "ovpn ";
	uint8_t info[3 + sizeof(prefix) + MOST_LABEL + 2], block[FP_SECRET_SIZE];
	size_t prefix_length = sizeof(prefix) - 1, length = strlen(label), at = 0;
	unsigned int made = 0;
	bool done;

	info[at++] = 0;
	info[at++] = (uint8_t)size;
	info[at++] = (uint8_t)(prefix_length + length);
	memcpy(info + at, prefix, prefix_length);
	at += prefix_length;
	memcpy(info + at, label, length);
	at += length;
	info[at++] = 0; /* the length of the context */
	info[at++] = 1; /* the number of the block */
	done = HMAC(EVP_sha256(), secret->secret, FP_SECRET_SIZE, info, at, block, &made) != NULL &&
	       made == FP_SECRET_SIZE;
	if (done)
		memcpy(out, block, size);
	fp_crypto_wipe(block, sizeof(block));
	return done;
}

bool fp_epoch_follow(struct fp_epoch_secret *secret)
{
	uint8_t next[FP_SECRET_SIZE];

	if (secret->epoch >= FP_LAST_EPOCH || !expand(secret, "datakey upd", next, sizeof(next)))
		return false;
	memcpy(secret->secret, next, sizeof(next));
	fp_crypto_wipe(next, sizeof(next));
	secret->epoch++;
	return true;
}

bool fp_epoch_derive(const struct fp_epoch_secret *secret, const struct fp_aead *aead,
		     struct fp_epoch_key *key)
{
	key->epoch = secret->epoch;
	if (expand(secret, "data_key", key->key, aead->key_size) &&
	    expand(secret, "data_iv", key->iv, FP_NONCE_SIZE))
		return true;
	fp_crypto_wipe(key, sizeof(*key));
	return false;
}
