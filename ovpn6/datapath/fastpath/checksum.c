/* SPDX-License-Identifier: Apache-2.0 */
#include "checksum.h"

#include <arpa/inet.h>
#include <string.h>

#define STRIDE 32

typedef uint64_t lanes __attribute__((vector_size(STRIDE)));

/*
 * Adds the two halves of each 64-bit lane into 64-bit lanes, so no carry is ever lost. The vector
 * type compiles everywhere; x86-64 gets a second copy in instructions that Debian's baseline lacks.
 */
static inline __attribute__((always_inline)) uint64_t sum_any(const uint8_t *data, size_t length)
{
	lanes total = { 0 }, more = { 0 };
	uint64_t sum;
	uint32_t word;
	uint16_t half;

	for (; length >= 2 * STRIDE; data += 2 * STRIDE, length -= 2 * STRIDE) {
		lanes first, second;

		memcpy(&first, data, STRIDE);
		memcpy(&second, data + STRIDE, STRIDE);
		total += (first & 0xffffffff) + (first >> 32);
		more += (second & 0xffffffff) + (second >> 32);
	}
	total += more;
	sum = total[0] + total[1] + total[2] + total[3];
	for (; length >= sizeof(word); data += sizeof(word), length -= sizeof(word)) {
		memcpy(&word, data, sizeof(word));
		sum += word;
	}
	if (length >= sizeof(half)) {
		memcpy(&half, data, sizeof(half));
		sum += half;
		data += sizeof(half);
		length -= sizeof(half);
	}
	if (length) {
		half = 0;
		memcpy(&half, data, 1);
		sum += half;
	}
	return sum;
}

#if defined(__x86_64__)
static __attribute__((target("avx2"))) uint64_t sum_avx2(const uint8_t *data, size_t length)
{
	return sum_any(data, length);
}
#endif

uint64_t ovpn6_sum(const uint8_t *data, size_t length)
{
#if defined(__x86_64__)
	if (length >= 4 * STRIDE && __builtin_cpu_supports("avx2"))
		return sum_avx2(data, length);
#endif
	return sum_any(data, length);
}

uint16_t ovpn6_sum_fold(uint64_t sum)
{
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	return (uint16_t)sum;
}

uint64_t ovpn6_pseudo_sum(const uint8_t *packet, uint8_t protocol, uint32_t length)
{
	uint64_t addresses;

	if (packet[0] >> 4 == 6)
		addresses = ovpn6_sum(packet + 8, 32);
	else
		addresses = ovpn6_sum(packet + 12, 8);
	return addresses + htons(protocol) + htons((uint16_t)length);
}
