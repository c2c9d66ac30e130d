// SPDX-License-Identifier: Apache-2.0
/* Which provider serves a cipher: the first of the list that has it. */

#include "crypto.h"

#include <string.h>

static const struct fp_provider *const providers[] = { &fp_ipsec_mb, &fp_openssl };
#define PROVIDERS (sizeof(providers) / sizeof(providers[0]))

static const struct fp_aead *find(const char *cipher, const char *wanted,
				  const struct fp_provider **from)
{
	for (size_t i = 0; i < PROVIDERS; i++) {
		const struct fp_aead *aead;

		*from = providers[i];
		if (*wanted != '\0' && strcmp(wanted, (*from)->name) != 0)
			continue;
		if (!(*from)->load())
			continue;
		aead = (*from)->find(cipher);
		if (aead != NULL)
			return aead;
	}
	return NULL;
}

const struct fp_aead *fp_crypto_find(const char *cipher, const char *provider)
{
	const struct fp_provider *from;

	return find(cipher, provider, &from);
}

const char *fp_crypto_describe(const char *cipher, const char *provider)
{
	const struct fp_provider *from;

	return find(cipher, provider, &from) == NULL ? NULL : from->describe();
}

void fp_crypto_wipe(void *memory, size_t length)
{
	explicit_bzero(memory, length);
}
