// SPDX-License-Identifier: GPL-2.0-only
/* As nla_validate() of the kernel does it when it is told to be strict. */

#include "requests.h"

#include "../src/policies.h"

#define HEADER 4
#define IS_NESTED 0x8000u
#define FLAGS 0xc000u

struct request {
	const char *name;
	const struct nla_policy *policy;
	size_t last;
};

#define REQUEST(name) { #name, ovpn6_##name##_request, ARRAY_SIZE(ovpn6_##name##_request) - 1 }

static const struct request requests[] = {
	REQUEST(peer_new), REQUEST(peer_set), REQUEST(peer_get),   REQUEST(peer_del),
	REQUEST(key_new),  REQUEST(key_get),  REQUEST(key_swap),   REQUEST(key_del),
	REQUEST(prefix_new), REQUEST(prefix_del), REQUEST(prefix_get),
};

/* The size of a number of this kind; 0 for what is none. */
static size_t size_of(const struct nla_policy *policy)
{
	switch (policy->type) {
	case NLA_U8:
		return 1;
	case NLA_BE16:
		return 2;
	case NLA_U32:
	case NLA_S32:
	case NLA_BE32:
		return 4;
	default:
		return 0;
	}
}

/* A number in its own order of bytes; the length of what is none. */
static u64 measure_of(const struct nla_policy *policy, const u8 *data, size_t size)
{
	u32 number;

	if (policy->type == NLA_BINARY)
		return size;
	if (policy->type == NLA_BE16)
		return (u64)data[0] << 8 | data[1];
	if (policy->type == NLA_U8)
		return data[0];
	memcpy(&number, data, sizeof(number));
	return number;
}

static bool is_within(const struct nla_policy *policy, u64 measure)
{
	switch (policy->validation_type) {
	case WITHIN_POINTER:
		return measure >= policy->range->min && measure <= policy->range->max;
	case WITHIN:
		return measure >= (u64)policy->min && measure <= (u64)policy->max;
	case AT_LEAST:
		return measure >= (u64)policy->min;
	case AT_MOST:
		return measure <= (u64)policy->max;
	default:
		return true;
	}
}

static bool are_lawful(const u8 *data, size_t size, const struct nla_policy *policies, size_t last,
		       int depth, attribute_found found);

static bool is_lawful(const struct nla_policy *policy, bool is_nest, const u8 *data, size_t size,
		      int depth, attribute_found found)
{
	if (is_nest != (policy->type == NLA_NESTED) || policy->type == NLA_UNSPEC)
		return false;
	if (is_nest)
		return are_lawful(data, size, policy->nested_policy, policy->len, depth + 1, found);
	if (size_of(policy) && size != size_of(policy))
		return false;
	return is_within(policy, measure_of(policy, data, size));
}

static bool are_lawful(const u8 *data, size_t size, const struct nla_policy *policies, size_t last,
		       int depth, attribute_found found)
{
	while (size >= HEADER) {
		u16 length, type, number;
		size_t step;

		memcpy(&length, data, sizeof(length));
		memcpy(&type, data + 2, sizeof(type));
		number = type & (u16)~FLAGS;
		if (length < HEADER || length > size || !number || number > last)
			return false;
		if (!is_lawful(&policies[number], type & IS_NESTED, data + HEADER, length - HEADER,
			       depth, found))
			return false;
		if (found)
			found(depth, number, data + HEADER, length - HEADER);
		step = (length + 3u) & ~(size_t)3;
		step = min(step, size);
		data += step;
		size -= step;
	}
	return !size;
}

unsigned int requests_count(void)
{
	return ARRAY_SIZE(requests);
}

const char *request_name(unsigned int request)
{
	return requests[request].name;
}

bool request_is_lawful(unsigned int request, const u8 *data, size_t size, attribute_found found)
{
	return are_lawful(data, size, requests[request].policy, requests[request].last, 0, found);
}
