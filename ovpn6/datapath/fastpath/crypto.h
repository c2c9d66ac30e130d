/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The AEADs of the data channel: one table, filled by two providers. libipsec-mb is loaded at run
 * time where it is installed and the processor is an x86-64; OpenSSL has every cipher.
 */
#ifndef OVPN6_FASTPATH_CRYPTO_H
#define OVPN6_FASTPATH_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FP_TAG_SIZE 16
#define FP_NONCE_SIZE 12
#define FP_KEY_MOST 32

/**
 * struct fp_aead - one cipher of one provider
 * @cipher: its name, a row of ovpn6/model/ciphers.py
 * @key_size: octets
 * @setup: make the state of one key and direction; NULL without memory
 * @wipe: clear and free a state
 * @seal: encrypt @length octets from @in to @out, which are the same or apart, and make @tag
 * @open: the reverse; false, with @out holding nothing of use, when @tag is wrong
 *
 * A state serves one thread at a time.
 */
struct fp_aead {
	const char *cipher;
	size_t key_size;
	void *(*setup)(const struct fp_aead *aead, const uint8_t *key, bool sealing);
	void (*wipe)(void *state);
	bool (*seal)(void *state, const uint8_t *nonce, const uint8_t *aad, size_t aad_length,
		     const uint8_t *in, uint8_t *out, size_t length, uint8_t *tag);
	bool (*open)(void *state, const uint8_t *nonce, const uint8_t *aad, size_t aad_length,
		     const uint8_t *in, uint8_t *out, size_t length, const uint8_t *tag);
};

/**
 * struct fp_provider - a library
 * @name: as in the log and in fp_crypto_use()
 * @find: NULL for a cipher that it does not have
 * @load: make it ready, once; false when it is not there, with the reason in its description
 * @describe: name, version and instruction set, or why it is not used
 */
struct fp_provider {
	const char *name;
	bool (*load)(void);
	const struct fp_aead *(*find)(const char *cipher);
	const char *(*describe)(void);
};

extern const struct fp_provider fp_ipsec_mb;
extern const struct fp_provider fp_openssl;

/**
 * fp_crypto_find() - the best row for a cipher
 * @provider: "ipsec-mb" or "openssl" to have only that one, "" for the first that has it
 *
 * Return: NULL for an unknown cipher. Not thread-safe in its first call.
 */
const struct fp_aead *fp_crypto_find(const char *cipher, const char *provider);

/**
 * fp_crypto_describe() - which library seals and opens a cipher, for the log
 * @provider: as above
 *
 * Return: NULL for an unknown cipher.
 */
const char *fp_crypto_describe(const char *cipher, const char *provider);

/**
 * fp_crypto_wipe() - overwrite, whatever the compiler thinks
 */
void fp_crypto_wipe(void *memory, size_t length);

#endif
