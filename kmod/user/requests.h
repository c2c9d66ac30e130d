/* SPDX-License-Identifier: GPL-2.0-only */
/* Requests against the module's policies, checked as strictly as the kernel does. */
#ifndef OVPN6_USER_REQUESTS_H
#define OVPN6_USER_REQUESTS_H

#include "shim.h"

/**
 * typedef attribute_found - told of each attribute that is as its policy has it
 * @depth: 0 in the request, 1 in its nest, 2 in a nest there
 * @number: of the attribute
 * @data: what it holds
 * @size: of that
 */
typedef void (*attribute_found)(int depth, int number, const u8 *data, size_t size);

unsigned int requests_count(void);
const char *request_name(unsigned int request);
bool request_is_lawful(unsigned int request, const u8 *data, size_t size, attribute_found found);

#endif
