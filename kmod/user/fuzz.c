// SPDX-License-Identifier: GPL-2.0-only
/*
 * The pure files under any bytes, against the dullest thing that gives the same answers. For
 * libFuzzer; with -DREPLAY_MAIN a program of its own that makes its bytes up from a seed.
 */

#include <stdio.h>

#include "../src/packet.h"
#include "../src/prefix.h"
#include "../src/replay.h"
#include "ovpn6_netlink.h"
#include "requests.h"

#define MOST_PREFIXES 64
#define MOST_IDS 256

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

struct known {
	u8 address[16];
	u8 length;
	int owner;
};

static void check(bool right)
{
	if (!right)
		abort();
}

static bool matches(const struct known *known, const u8 *address)
{
	for (u8 bit = 0; bit < known->length; bit++)
		if ((known->address[bit / 8] ^ address[bit / 8]) >> (7 - bit % 8) & 1)
			return false;
	return true;
}

static int *dull_find(struct known *known, const u8 *address)
{
	struct known *best = NULL;

	for (int i = 0; i < MOST_PREFIXES; i++)
		if (known[i].owner && matches(&known[i], address) &&
		    (!best || known[i].length >= best->length))
			best = &known[i];
	return best ? &best->owner : NULL;
}

static void trie(const u8 *data, size_t size, u8 bits)
{
	struct known known[MOST_PREFIXES] = { { { 0 }, 0, 0 } };
	struct ovpn6_prefixes prefixes;
	size_t step = 2 + bits / 8;

	ovpn6_prefixes_init(&prefixes, bits, NULL);
	for (; size >= step; data += step, size -= step) {
		struct known *slot = &known[data[0] % MOST_PREFIXES];
		const u8 *address = data + 2;

		if (slot->owner) {
			check(ovpn6_prefix_remove(&prefixes, slot->address, slot->length) == &slot->owner);
			slot->owner = 0;
		} else {
			memcpy(slot->address, address, bits / 8);
			slot->length = data[1] % (bits + 1);
			slot->owner = 1;
			if (ovpn6_prefix_add(&prefixes, address, slot->length, &slot->owner))
				slot->owner = 0;
		}
		check(ovpn6_prefix_find(&prefixes, address) == dull_find(known, address));
	}
	ovpn6_prefixes_clear(&prefixes);
	check(!prefixes.root);
}

static void replay(const u8 *data, size_t size)
{
	struct ovpn6_replay window = { 0 };
	u64 seen[MOST_IDS] = { 0 }, id = 1, highest = 0;
	int count = 0;

	for (; size >= 2 && count < MOST_IDS; data += 2, size -= 2) {
		bool fresh = true, taken;

		/* Small steps and large ones, both ways. */
		id += (u64)(int64_t)(int8_t)data[0] * (1ULL << data[1] % 12);
		id &= 0xffffffffffffULL;
		for (int i = 0; i < count; i++)
			fresh = fresh && seen[i] != id;
		taken = !ovpn6_replay_accept(&window, id, 0, 1);
		check(taken == (id && fresh &&
				(id > highest || highest - id < OVPN6_REPLAY_WINDOW)));
		if (taken)
			seen[count++] = id;
		if (taken && id > highest)
			highest = id;
	}
}

static void header(const u8 *data, size_t size)
{
	u8 again[OVPN6_HEADER_SIZE];

	ovpn6_ip_version(data, size);
	if (!size || ovpn6_verdict_of(data[0], size) != OVPN6_OURS)
		return;
	ovpn6_header_encode(ovpn6_header_decode(data), again);
	check(!memcmp(again, data, sizeof(again)));
}

/* Headers of attributes, and of nests in nests, out of any bytes. */
static void shape(u8 *data, size_t size, int depth)
{
	while (size >= 4) {
		bool is_nest = data[1] & 0x80;
		u16 type = (u16)(data[2] % 36 | (is_nest ? 0x8000 : 0));
		u16 length = (u16)(4 + (is_nest ? 4 * data[0] : data[0] % 20));
		size_t step;

		length = (u16)min(length, size);
		memcpy(data, &length, sizeof(length));
		memcpy(data + 2, &type, sizeof(type));
		if (is_nest && depth < 3)
			shape(data + 4, length - 4u, depth + 1);
		step = (length + 3u) & ~(size_t)3;
		step = min(step, size);
		data += step;
		size -= step;
	}
}

/* What every policy has in common. */
static void found(int depth, int number, const u8 *data, size_t size)
{
	u32 value = 0;

	if (depth == 1 && number == 1) {
		check(size == sizeof(value));
		memcpy(&value, data, sizeof(value));
		check(value <= OVPN6_LARGEST_PEER_ID);
	}
	if (depth == 2)
		check(number == 1 ? size <= OVPN6_LARGEST_KEY : size == OVPN6_NONCE_TAIL);
	check(depth <= 2);
}

static void request(u8 *data, size_t size)
{
	unsigned int which = size ? data[0] % requests_count() : 0;

	request_is_lawful(which, data, size, found);
	shape(data, size, 0);
	request_is_lawful(which, data, size, found);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	u8 *copy;

	if (!size)
		return 0;
	/* Of exactly this size, so that a byte too many is seen. */
	copy = malloc(size);
	check(copy);
	memcpy(copy, data, size);
	header(copy, size);
	replay(copy + 1, size - 1);
	trie(copy + 1, size - 1, copy[0] & 1 ? 128 : 32);
	request(copy, size);
	free(copy);
	return 0;
}

#ifdef REPLAY_MAIN
int main(int count, char **words)
{
	static u8 data[4096];
	u64 state = 0x9e3779b97f4a7c15ULL;
	long rounds = count > 1 ? atol(words[1]) : 1000;

	for (long round = 0; round < rounds; round++) {
		size_t size = (size_t)(state >> 40) % sizeof(data);

		for (size_t i = 0; i < size; i++) {
			state ^= state << 13;
			state ^= state >> 7;
			state ^= state << 17;
			/* Often the same few bytes, so that prefixes and ids meet. */
			data[i] = state >> 60 ? (u8)(state >> 32) & 0x83 : (u8)(state >> 32);
		}
		data[0] = (u8)round;
		LLVMFuzzerTestOneInput(data, size);
	}
	puts("clean");
	return 0;
}
#endif
