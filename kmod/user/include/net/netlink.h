/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel's words for what a netlink attribute may hold, for user space. */
#ifndef OVPN6_USER_NETLINK_H
#define OVPN6_USER_NETLINK_H

#include "../../shim.h"

enum { NLA_UNSPEC, NLA_U8, NLA_U32, NLA_S32, NLA_BE16, NLA_BE32, NLA_BINARY, NLA_NESTED };

struct netlink_range_validation {
	u64 min, max;
};

enum nla_policy_validation { ANYTHING, WITHIN_POINTER, WITHIN, AT_LEAST, AT_MOST };

struct nla_policy {
	u8 type;
	u8 validation_type;
	u16 len;
	union {
		const struct nla_policy *nested_policy;
		const struct netlink_range_validation *range;
		struct {
			int16_t min, max;
		};
	};
};

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define NLA_POLICY_NESTED(policy) \
	{ .type = NLA_NESTED, .len = ARRAY_SIZE(policy) - 1, .nested_policy = (policy) }
#define NLA_POLICY_FULL_RANGE(kind, bounds) \
	{ .type = (kind), .validation_type = WITHIN_POINTER, .range = (bounds) }
#define NLA_POLICY_RANGE(kind, low, high) \
	{ .type = (kind), .validation_type = WITHIN, .min = (low), .max = (high) }
#define NLA_POLICY_MIN(kind, low) \
	{ .type = (kind), .validation_type = AT_LEAST, .min = (low) }
#define NLA_POLICY_MAX(kind, high) \
	{ .type = (kind), .validation_type = AT_MOST, .max = (high) }
#define NLA_POLICY_EXACT_LEN(size) NLA_POLICY_RANGE(NLA_BINARY, size, size)

#endif
