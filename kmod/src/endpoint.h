/* SPDX-License-Identifier: GPL-2.0-only */
/* An outer address with its port. */
#ifndef OVPN6_ENDPOINT_H
#define OVPN6_ENDPOINT_H

#include <linux/in6.h>
#include <net/ipv6.h>

/**
 * struct ovpn6_endpoint - where packets come from or go to
 * @address: an IPv4 address is mapped into IPv6
 * @scope: interface of a link-local address, else 0
 * @port: in network order
 */
struct ovpn6_endpoint {
	struct in6_addr address;
	u32 scope;
	__be16 port;
};

static inline bool ovpn6_is_ipv4(const struct in6_addr *address)
{
	return ipv6_addr_v4mapped(address);
}

static inline __be32 ovpn6_ipv4_of(const struct in6_addr *address)
{
	return ovpn6_is_ipv4(address) ? address->s6_addr32[3] : 0;
}

static inline bool ovpn6_same_endpoint(const struct ovpn6_endpoint *one,
				       const struct ovpn6_endpoint *other)
{
	return one->port == other->port && one->scope == other->scope &&
	       ipv6_addr_equal(&one->address, &other->address);
}

#endif
