// SPDX-License-Identifier: Apache-2.0
/*
 * libipsec-mb: AES-GCM by its direct calls, one packet each, and ChaCha20-Poly1305 by three. The
 * library is opened at run time, and used when it is of the version whose header this was built
 * with: its table of functions has no other guard.
 */

#include "crypto.h"

#if defined(__x86_64__) && __has_include(<intel-ipsec-mb.h>)

#include <dlfcn.h>
#include <intel-ipsec-mb.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIBRARY "libIPSec_MB.so.1"
_Static_assert(IMB_VERSION_NUM >> 16 == 1, "another major version has another library name");

static IMB_MGR *manager;
static char description[96] = "libipsec-mb";

/* What is told of a processor, best first. */
static const struct {
	IMB_ARCH arch;
	const char *name;
} archs[] = {
	{ IMB_ARCH_AVX512, "AVX-512" },
	{ IMB_ARCH_AVX2, "AVX2" },
	{ IMB_ARCH_AVX, "AVX" },
	{ IMB_ARCH_SSE, "SSE" },
	{ IMB_ARCH_NOAESNI, "no AES instructions" },
};

static const char *arch_name(IMB_ARCH arch)
{
	for (size_t i = 0; i < sizeof(archs) / sizeof(archs[0]); i++) {
		if (archs[i].arch == arch)
			return archs[i].name;
	}
	return "?";
}

static bool open_library(void)
{
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	IMB_MGR *(*allocate)(uint64_t);
	void (*initialise)(IMB_MGR *, IMB_ARCH *);
	unsigned int (*version)(void);
	IMB_ARCH arch = IMB_ARCH_NONE;

	if (library == NULL)
		return false;
	*(void **)&allocate = dlsym(library, "alloc_mb_mgr");
	*(void **)&initialise = dlsym(library, "init_mb_mgr_auto");
	*(void **)&version = dlsym(library, "imb_get_version");
	if (allocate == NULL || initialise == NULL || version == NULL ||
	    version() >> 8 != IMB_VERSION_NUM >> 8)
		return false;
	manager = allocate(0);
	if (manager == NULL)
		return false;
	initialise(manager, &arch);
	/* Without AES instructions OpenSSL is as good. */
	if (arch == IMB_ARCH_NONE || arch == IMB_ARCH_NOAESNI) {
		manager = NULL;
		return false;
	}
	snprintf(description, sizeof(description), "libipsec-mb %u.%u.%u (%s)", version() >> 16,
		 version() >> 8 & 0xff, version() & 0xff, arch_name(arch));
	return true;
}

static bool load(void)
{
	static bool tried;

	if (!tried)
		open_library();
	tried = true;
	return manager != NULL;
}

static const char *describe(void)
{
	return description;
}

static void wipe(void *state)
{
	fp_crypto_wipe(state, sizeof(struct gcm_key_data));
	free(state);
}

/* The three key sizes differ in nothing but the functions of the manager. */
#define ROW(bits)                                                                               \
	static void *setup_##bits(const struct fp_aead *aead, const uint8_t *key, bool sealing)  \
	{                                                                                        \
		void *state;                                                                     \
                                                                                                 \
		(void)aead;                                                                      \
		(void)sealing;                                                                   \
		if (posix_memalign(&state, 64, sizeof(struct gcm_key_data)) != 0)                \
			return NULL;                                                             \
		IMB_AES##bits##_GCM_PRE(manager, key, state);                                    \
		return state;                                                                    \
	}                                                                                        \
                                                                                                 \
	static bool seal_##bits(void *state, const uint8_t *nonce, const uint8_t *aad,           \
				size_t aad_length, const uint8_t *in, uint8_t *out,              \
				size_t length, uint8_t *tag)                                     \
	{                                                                                        \
		struct gcm_context_data context;                                                 \
                                                                                                 \
		IMB_AES##bits##_GCM_ENC(manager, state, &context, out, in, length, nonce, aad,   \
					aad_length, tag, FP_TAG_SIZE);                           \
		return true;                                                                     \
	}                                                                                        \
                                                                                                 \
	static bool open_##bits(void *state, const uint8_t *nonce, const uint8_t *aad,           \
				size_t aad_length, const uint8_t *in, uint8_t *out,              \
				size_t length, const uint8_t *tag)                               \
	{                                                                                        \
		struct gcm_context_data context;                                                 \
		uint8_t computed[FP_TAG_SIZE];                                                   \
                                                                                                 \
		IMB_AES##bits##_GCM_DEC(manager, state, &context, out, in, length, nonce, aad,   \
					aad_length, computed, FP_TAG_SIZE);                      \
		return CRYPTO_memcmp(computed, tag, FP_TAG_SIZE) == 0;                           \
	}

ROW(128)
ROW(192)
ROW(256)

#define CHACHA_KEY 32

static void *setup_chacha(const struct fp_aead *aead, const uint8_t *key, bool sealing)
{
	void *state = malloc(CHACHA_KEY);

	(void)aead;
	(void)sealing;
	if (state != NULL)
		memcpy(state, key, CHACHA_KEY);
	return state;
}

static void wipe_chacha(void *state)
{
	fp_crypto_wipe(state, CHACHA_KEY);
	free(state);
}

static bool seal_chacha(void *state, const uint8_t *nonce, const uint8_t *aad, size_t aad_length,
			const uint8_t *in, uint8_t *out, size_t length, uint8_t *tag)
{
	struct chacha20_poly1305_context_data context;

	IMB_CHACHA20_POLY1305_INIT(manager, state, &context, nonce, aad, aad_length);
	IMB_CHACHA20_POLY1305_ENC_UPDATE(manager, state, &context, out, in, length);
	IMB_CHACHA20_POLY1305_ENC_FINALIZE(manager, &context, tag, FP_TAG_SIZE);
	return true;
}

static bool open_chacha(void *state, const uint8_t *nonce, const uint8_t *aad, size_t aad_length,
			const uint8_t *in, uint8_t *out, size_t length, const uint8_t *tag)
{
	struct chacha20_poly1305_context_data context;
	uint8_t computed[FP_TAG_SIZE];

	IMB_CHACHA20_POLY1305_INIT(manager, state, &context, nonce, aad, aad_length);
	IMB_CHACHA20_POLY1305_DEC_UPDATE(manager, state, &context, out, in, length);
	IMB_CHACHA20_POLY1305_DEC_FINALIZE(manager, &context, computed, FP_TAG_SIZE);
	return CRYPTO_memcmp(computed, tag, FP_TAG_SIZE) == 0;
}

static const struct fp_aead rows[] = {
	{ "CHACHA20-POLY1305", CHACHA_KEY, setup_chacha, wipe_chacha, seal_chacha, open_chacha },
	{ "AES-128-GCM", 16, setup_128, wipe, seal_128, open_128 },
	{ "AES-192-GCM", 24, setup_192, wipe, seal_192, open_192 },
	{ "AES-256-GCM", 32, setup_256, wipe, seal_256, open_256 },
};

static const struct fp_aead *find(const char *cipher)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (strcmp(rows[i].cipher, cipher) == 0)
			return &rows[i];
	}
	return NULL;
}

#else

static bool load(void)
{
	return false;
}

static const struct fp_aead *find(const char *cipher)
{
	(void)cipher;
	return NULL;
}

static const char *describe(void)
{
	return "libipsec-mb, which this was built without";
}

#endif

const struct fp_provider fp_ipsec_mb = { "ipsec-mb", load, find, describe };
