/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers in network order at any address. */
#ifndef OVPN6_FASTPATH_BYTES_H
#define OVPN6_FASTPATH_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline void fp_put32(uint8_t *out, uint32_t value)
{
	value = htobe32(value);
	memcpy(out, &value, sizeof(value));
}

static inline void fp_put64(uint8_t *out, uint64_t value)
{
	value = htobe64(value);
	memcpy(out, &value, sizeof(value));
}

static inline uint32_t fp_get32(const uint8_t *in)
{
	uint32_t value;

	memcpy(&value, in, sizeof(value));
	return be32toh(value);
}

static inline uint64_t fp_get64(const uint8_t *in)
{
	uint64_t value;

	memcpy(&value, in, sizeof(value));
	return be64toh(value);
}

#endif
