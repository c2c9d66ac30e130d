/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One input of a fuzzer, for libFuzzer and for replay.c. Its first octet says what the rest is:
 *
 *	bit 0 clear	a vnet header and a packet, to be cut
 *	bit 0 set	packets to be merged, each a 16-bit length (little-endian) and its octets;
 *			0xffff flushes
 *	bit 1		the tunnel takes segmentation of UDP
 *	bit 2		packets get right checksums first, so that mutated ones still merge
 *
 * What was merged is cut again: that must give the packets that came. Only those whose checksums
 * were right may have been merged.
 */
#include <stdlib.h>
#include <string.h>

#include "checksum.h"
#include "offload.h"
#include "vnet.h"

#define MERGE 1
#define UDP_TOO 2
#define REPAIR 4
#define MOST_PACKETS 512
#define ROOM (4u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);

struct fed {
	const uint8_t *at;
	uint32_t length;
	bool found;
};

static uint8_t input[ROOM], output[ROOM], cut_out[ROOM];
static struct fed fed[MOST_PACKETS];

static void demand(bool holds)
{
	if (!holds)
		abort();
}

static uint16_t load16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static size_t transport_of(const uint8_t *packet, size_t length)
{
	if (length >= 40 && packet[0] >> 4 == 6)
		return 40;
	return length >= 20 && packet[0] == 0x45 ? 20 : 0;
}

/* Where the checksum of a TCP or UDP packet stands, 0 when there is none. */
static size_t field_of(const uint8_t *packet, size_t length)
{
	size_t transport = transport_of(packet, length), field = 0;
	uint8_t protocol = transport == 40 ? packet[6] : transport ? packet[9] : 0;

	if (protocol == 6)
		field = transport + 16;
	else if (protocol == 17)
		field = transport + 6;
	return field + 2 <= length ? field : 0;
}

static uint16_t sum_of(const uint8_t *packet, size_t length)
{
	size_t transport = transport_of(packet, length);
	uint8_t protocol = packet[transport == 40 ? 6 : 9];

	return ovpn6_sum_fold(ovpn6_pseudo_sum(packet, protocol, (uint32_t)(length - transport)) +
			      ovpn6_sum(packet + transport, length - transport));
}

static void repair(uint8_t *packet, size_t length)
{
	size_t field = field_of(packet, length);
	uint16_t sum;

	if (!field)
		return;
	if (packet[0] >> 4 == 4) {
		memset(packet + 10, 0, 2);
		sum = (uint16_t)~ovpn6_sum_fold(ovpn6_sum(packet, 20));
		memcpy(packet + 10, &sum, 2);
	}
	memset(packet + field, 0, 2);
	sum = (uint16_t)~sum_of(packet, length);
	if (!sum && load16(packet + field - 2))
		sum = 0xffff;
	memcpy(packet + field, &sum, 2);
}

/* Equal but for the id of IPv4 packets with DF, and for the two spellings of a sum of zero. */
static bool same(const uint8_t *a, const uint8_t *b, size_t length)
{
	size_t field = field_of(a, length);

	for (size_t at = 0; at < length; at++) {
		bool id = a[0] >> 4 == 4 && length >= 20 && (a[6] & 0x40) &&
			  (at == 4 || at == 5 || at == 10 || at == 11);

		if (a[at] != b[at] && !id && !(field && (at == field || at == field + 1) &&
					       sum_of(a, length) == 0xffff &&
					       sum_of(b, length) == 0xffff))
			return false;
	}
	return true;
}

static void find(const uint8_t *packet, uint32_t length, size_t count)
{
	for (size_t number = 0; number < count; number++) {
		struct fed *one = &fed[number];

		if (!one->found && one->length == length && same(packet, one->at, length)) {
			one->found = true;
			return;
		}
	}
	abort();
}

static uint32_t number_at(const uint8_t *at)
{
	uint32_t number;

	memcpy(&number, at, sizeof(number));
	return number;
}

static void check_write(const uint8_t *vnet, uint32_t packets, uint32_t length, size_t count)
{
	const uint8_t *packet = vnet + OVPN6_VNET_SIZE;
	const uint8_t *at = cut_out;
	long used;

	if (packets == 1) {
		for (int octet = 0; octet < OVPN6_VNET_SIZE; octet++)
			demand(!vnet[octet]);
		find(packet, length, count);
		return;
	}
	used = offload_cut(vnet, packet, length, cut_out, ROOM);
	demand(used > 0);
	while (at < cut_out + used) {
		uint32_t size = number_at(at);

		demand(sum_of(at + 4, size) == 0xffff);
		find(at + 4, size, count);
		at += 4 + size;
		packets--;
	}
	demand(!packets);
}

static void merge(uint8_t mode, const uint8_t *data, size_t length)
{
	size_t count = 0, used = 0;
	const uint8_t *at = output;
	long written;

	while (length >= 2 && count < MOST_PACKETS) {
		uint32_t size = (uint32_t)(data[0] | data[1] << 8);
		bool flush = size == 0xffff;

		data += 2;
		length -= 2;
		if (flush)
			size = 0;
		if (size > length)
			size = (uint32_t)length;
		if (used + 4 + size > ROOM / 4)
			break;
		memcpy(input + used, &(uint32_t){ flush ? FLUSH : size }, 4);
		used += 4;
		if (flush)
			continue;
		memcpy(input + used, data, size);
		if (mode & REPAIR)
			repair(input + used, size);
		fed[count++] = (struct fed){ input + used, size, false };
		used += size;
		data += size;
		length -= size;
	}
	written = offload_merge(input, used, mode & UDP_TOO, output, ROOM);
	while (at < output + written) {
		uint32_t packets = number_at(at), size = number_at(at + 4);

		check_write(at + 8, packets, size - OVPN6_VNET_SIZE, count);
		at += 8 + size;
	}
	for (size_t number = 0; number < count; number++)
		demand(fed[number].found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
	if (!length)
		return 0;
	if (data[0] & MERGE)
		merge(data[0], data + 1, length - 1);
	else if (length > OVPN6_VNET_SIZE)
		offload_cut(data + 1, data + 1 + OVPN6_VNET_SIZE, length - 1 - OVPN6_VNET_SIZE,
			    cut_out, ROOM);
	return 0;
}
