/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Internet checksum (RFC 1071). Partial sums are in memory order and below 2^52; they may be
 * added to each other as long as each covers an even number of octets but the last.
 */
#ifndef OVPN6_CHECKSUM_H
#define OVPN6_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/**
 * ovpn6_sum() - one's complement sum of some octets
 * @data: begins at an even offset of what is summed
 * @length: octets, at most 1 MiB; an odd last one counts as if a zero followed
 *
 * Return: a partial sum.
 */
uint64_t ovpn6_sum(const uint8_t *data, size_t length);

/**
 * ovpn6_sum_fold() - a partial sum as 16 bits, not inverted
 *
 * Return: as it stands in memory: store it with memcpy, without byte swapping.
 */
uint16_t ovpn6_sum_fold(uint64_t sum);

/**
 * ovpn6_pseudo_sum() - partial sum of the pseudo-header of an IP packet
 * @packet: a whole IPv4 or IPv6 header whose addresses are the final ones
 * @protocol: of the transport header
 * @length: octets from the transport header to the end, at most 65,535
 */
uint64_t ovpn6_pseudo_sum(const uint8_t *packet, uint8_t protocol, uint32_t length);

#endif
