/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which queue of the tunnel device the kernel puts a packet into: a BPF program that looks its
 * destination up among the prefixes of the peers. Prefixes of IPv4 are mapped into IPv6.
 */
#ifndef OVPN6_FASTPATH_STEER_H
#define OVPN6_FASTPATH_STEER_H

#include <stddef.h>
#include <stdint.h>

/**
 * struct fp_steering - the program and its prefixes; descriptors, -1 for none
 */
struct fp_steering {
	int map;
	int program;
};

/**
 * fp_steering_open() - without prefixes: everything goes to the first queue
 *
 * Return: 0 or an errno, with @steering of none then.
 */
int fp_steering_open(struct fp_steering *steering);

/**
 * fp_steering_close() - a device that has the program keeps it
 */
void fp_steering_close(struct fp_steering *steering);

/**
 * fp_steer() - packets to a prefix go to a queue from now on
 * @address: of @size 16 or 4 octets, no bit set after @length
 *
 * Return: 0 or an errno.
 */
int fp_steer(const struct fp_steering *steering, const uint8_t *address, size_t size,
	     unsigned int length, uint32_t queue);

/**
 * fp_unsteer() - the prefix is nobody's; nothing happens when it was none
 *
 * Return: 0 or an errno.
 */
int fp_unsteer(const struct fp_steering *steering, const uint8_t *address, size_t size,
	       unsigned int length);

#endif
