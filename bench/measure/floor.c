/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long an AEAD library alone takes to seal and open packets of one size with AES-256-GCM.
 *
 *	floor PACKET_SIZE MILLISECONDS
 *
 * Prints a line for each library it was built with: its name, ns to seal, ns to open. Keys are set
 * once and only the nonce changes, as in a tunnel. Packets lie one behind another in a buffer as
 * large as a train of them, so that they are in the cache as those of a tunnel would be.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#ifdef HAVE_IPSEC_MB
#include <intel-ipsec-mb.h>
#endif

#define TRAIN 45
#define TAG 16
#define NONCE 12
#define HEAD 8
#define MOST 9000

/* One packet after another: associated data, tag, text. */
static uint8_t train[TRAIN][HEAD + TAG + MOST];
static uint8_t key[32] = { 7 };

/* Seals or opens @size octets of a packet in place; 0 when the library fails. */
typedef int (*packet_fn)(uint8_t *packet, const uint8_t *nonce, int size);

static double now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &at);
	return (double)at.tv_sec * 1e9 + (double)at.tv_nsec;
}

static void nonce_of(uint32_t number, uint8_t *nonce)
{
	memset(nonce, 0, NONCE);
	memcpy(nonce, &number, sizeof(number));
}

/* Sealing and opening in turn, so that each opens what was sealed. */
static void measure(const char *name, packet_fn seal, packet_fn open, int size, double budget)
{
	double sealing = 0, opening = 0;
	uint32_t number = 0;
	unsigned long packets = 0;
	uint8_t nonce[NONCE];
	int i;

	while (sealing + opening < budget) {
		double begun = now(), turned, ended;

		for (i = 0; i < TRAIN; i++) {
			nonce_of(number + (uint32_t)i, nonce);
			if (!seal(train[i], nonce, size))
				goto failed;
		}
		turned = now();
		for (i = 0; i < TRAIN; i++) {
			nonce_of(number + (uint32_t)i, nonce);
			if (!open(train[i], nonce, size))
				goto failed;
		}
		ended = now();
		sealing += turned - begun;
		opening += ended - turned;
		packets += TRAIN;
		number += TRAIN;
	}
	printf("%s\t%.1f\t%.1f\n", name, sealing / packets, opening / packets);
	return;
failed:
	fprintf(stderr, "%s: a packet was not processed\n", name);
	exit(1);
}

static EVP_CIPHER_CTX *sealer, *opener;

static int openssl_seal(uint8_t *packet, const uint8_t *nonce, int size)
{
	uint8_t *text = packet + HEAD + TAG;
	int done;

	return EVP_EncryptInit_ex(sealer, NULL, NULL, NULL, nonce) &&
	       EVP_EncryptUpdate(sealer, NULL, &done, packet, HEAD) &&
	       EVP_EncryptUpdate(sealer, text, &done, text, size) &&
	       EVP_EncryptFinal_ex(sealer, text + done, &done) &&
	       EVP_CIPHER_CTX_ctrl(sealer, EVP_CTRL_AEAD_GET_TAG, TAG, packet + HEAD);
}

static int openssl_open(uint8_t *packet, const uint8_t *nonce, int size)
{
	uint8_t *text = packet + HEAD + TAG;
	int done;

	return EVP_DecryptInit_ex(opener, NULL, NULL, NULL, nonce) &&
	       EVP_CIPHER_CTX_ctrl(opener, EVP_CTRL_AEAD_SET_TAG, TAG, packet + HEAD) &&
	       EVP_DecryptUpdate(opener, NULL, &done, packet, HEAD) &&
	       EVP_DecryptUpdate(opener, text, &done, text, size) &&
	       EVP_DecryptFinal_ex(opener, text + done, &done) > 0;
}

static void measure_openssl(int size, double budget)
{
	sealer = EVP_CIPHER_CTX_new();
	opener = EVP_CIPHER_CTX_new();
	if (!sealer || !opener || !EVP_EncryptInit_ex(sealer, EVP_aes_256_gcm(), NULL, key, NULL) ||
	    !EVP_DecryptInit_ex(opener, EVP_aes_256_gcm(), NULL, key, NULL)) {
		fprintf(stderr, "OpenSSL: no AES-256-GCM\n");
		exit(1);
	}
	measure("OpenSSL", openssl_seal, openssl_open, size, budget);
	EVP_CIPHER_CTX_free(sealer);
	EVP_CIPHER_CTX_free(opener);
}

#ifdef HAVE_IPSEC_MB
static IMB_MGR *manager;
static struct gcm_key_data expanded;
static struct gcm_context_data context;

static int ipsec_mb_seal(uint8_t *packet, const uint8_t *nonce, int size)
{
	uint8_t *text = packet + HEAD + TAG;

	IMB_AES256_GCM_ENC(manager, &expanded, &context, text, text, (uint64_t)size, nonce, packet,
			   HEAD, packet + HEAD, TAG);
	return 1;
}

static int ipsec_mb_open(uint8_t *packet, const uint8_t *nonce, int size)
{
	uint8_t *text = packet + HEAD + TAG, tag[TAG];

	IMB_AES256_GCM_DEC(manager, &expanded, &context, text, text, (uint64_t)size, nonce, packet,
			   HEAD, tag, TAG);
	return CRYPTO_memcmp(tag, packet + HEAD, TAG) == 0;
}

static void measure_ipsec_mb(int size, double budget)
{
	manager = alloc_mb_mgr(0);
	if (!manager) {
		fprintf(stderr, "libipsec-mb: no memory\n");
		exit(1);
	}
	init_mb_mgr_auto(manager, NULL);
	IMB_AES256_GCM_PRE(manager, key, &expanded);
	measure("libipsec-mb", ipsec_mb_seal, ipsec_mb_open, size, budget);
	free_mb_mgr(manager);
}
#endif

int main(int count, char **words)
{
	int size = count == 3 ? atoi(words[1]) : 0;
	double budget = count == 3 ? atof(words[2]) * 1e6 : 0;

	if (size < 1 || size > MOST || budget <= 0) {
		fprintf(stderr, "usage: floor PACKET_SIZE MILLISECONDS\n");
		return 2;
	}
	measure_openssl(size, budget);
#ifdef HAVE_IPSEC_MB
	measure_ipsec_mb(size, budget);
#endif
	return 0;
}
