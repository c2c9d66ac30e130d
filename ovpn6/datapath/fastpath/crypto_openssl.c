// SPDX-License-Identifier: Apache-2.0
/*
 * OpenSSL's EVP. Each cipher is fetched once; a state is a context that keeps its key, so that a
 * packet sets only the nonce.
 */

#include "crypto.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <stdio.h>
#include <string.h>

static EVP_CIPHER *fetched[4];

static void *setup(const struct fp_aead *aead, const uint8_t *key, bool sealing);
static void wipe(void *state);
static bool seal(void *state, const uint8_t *nonce, const uint8_t *aad, size_t aad_length,
		 const uint8_t *in, uint8_t *out, size_t length, uint8_t *tag);
static bool unseal(void *state, const uint8_t *nonce, const uint8_t *aad, size_t aad_length,
		   const uint8_t *in, uint8_t *out, size_t length, const uint8_t *tag);

static const struct fp_aead rows[4] = {
	{ "AES-128-GCM", 16, setup, wipe, seal, unseal },
	{ "AES-192-GCM", 24, setup, wipe, seal, unseal },
	{ "AES-256-GCM", 32, setup, wipe, seal, unseal },
	{ "CHACHA20-POLY1305", 32, setup, wipe, seal, unseal },
};

static bool load(void)
{
	static const char *const names[4] = {
		"AES-128-GCM", "AES-192-GCM", "AES-256-GCM", "ChaCha20-Poly1305",
	};

	for (size_t i = 0; i < 4; i++) {
		if (fetched[i] == NULL)
			fetched[i] = EVP_CIPHER_fetch(NULL, names[i], NULL);
	}
	return true;
}

static const struct fp_aead *find(const char *cipher)
{
	for (size_t i = 0; i < 4; i++) {
		if (strcmp(rows[i].cipher, cipher) == 0)
			return fetched[i] == NULL ? NULL : &rows[i];
	}
	return NULL;
}

static const char *describe(void)
{
	static char description[96];

	snprintf(description, sizeof(description), "OpenSSL %s",
		 OpenSSL_version(OPENSSL_VERSION_STRING));
	return description;
}

const struct fp_provider fp_openssl = { "openssl", load, find, describe };

static void *setup(const struct fp_aead *aead, const uint8_t *key, bool sealing)
{
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();

	if (context != NULL &&
	    EVP_CipherInit_ex2(context, fetched[aead - rows], key, NULL, sealing, NULL) == 1)
		return context;
	EVP_CIPHER_CTX_free(context);
	return NULL;
}

static void wipe(void *state)
{
	/* Clears the key schedule too. */
	EVP_CIPHER_CTX_free(state);
}

static bool begin(EVP_CIPHER_CTX *context, const uint8_t *nonce, const uint8_t *aad,
		  size_t aad_length, const uint8_t *in, uint8_t *out, size_t length)
{
	int done;

	return EVP_CipherInit_ex2(context, NULL, NULL, nonce, -1, NULL) == 1 &&
	       EVP_CipherUpdate(context, NULL, &done, aad, (int)aad_length) == 1 &&
	       EVP_CipherUpdate(context, out, &done, in, (int)length) == 1 &&
	       (size_t)done == length;
}

static bool seal(void *state, const uint8_t *nonce, const uint8_t *aad, size_t aad_length,
		 const uint8_t *in, uint8_t *out, size_t length, uint8_t *tag)
{
	int done;

	return begin(state, nonce, aad, aad_length, in, out, length) &&
	       EVP_CipherFinal_ex(state, out + length, &done) == 1 &&
	       EVP_CIPHER_CTX_ctrl(state, EVP_CTRL_AEAD_GET_TAG, FP_TAG_SIZE, tag) == 1;
}

static bool unseal(void *state, const uint8_t *nonce, const uint8_t *aad, size_t aad_length,
		   const uint8_t *in, uint8_t *out, size_t length, const uint8_t *tag)
{
	uint8_t copy[FP_TAG_SIZE];
	int done;

	memcpy(copy, tag, sizeof(copy));
	return begin(state, nonce, aad, aad_length, in, out, length) &&
	       EVP_CIPHER_CTX_ctrl(state, EVP_CTRL_AEAD_SET_TAG, FP_TAG_SIZE, copy) == 1 &&
	       EVP_CipherFinal_ex(state, out + length, &done) == 1;
}
