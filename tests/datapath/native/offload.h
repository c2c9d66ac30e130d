/* SPDX-License-Identifier: Apache-2.0 */
/* The packet arithmetic with flat buffers in and out, for ctypes and for the fuzzer. */
#ifndef OFFLOAD_TEST_H
#define OFFLOAD_TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FLUSH 0xffffffffu

/*
 * All segments of one packet into @out, each as a 32-bit length and its octets.
 * Return: octets written, or an ovpn6_cut_error.
 */
long offload_cut(const uint8_t *vnet, const uint8_t *packet, size_t length, uint8_t *out,
		 size_t room);

/*
 * Feeds packets, each a 32-bit length and its octets; the length FLUSH alone flushes, as the end
 * does. Writes come into @out as 32-bit number of packets, 32-bit length, vnet header and packet.
 * Return: octets written.
 */
long offload_merge(const uint8_t *in, size_t length, bool udp, uint8_t *out, size_t room);

#endif
