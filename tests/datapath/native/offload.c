/* SPDX-License-Identifier: Apache-2.0 */
#include "offload.h"

#include <stdlib.h>
#include <string.h>

#include "coalesce.h"
#include "segment.h"

struct sink {
	uint8_t *out;
	size_t room;
	size_t used;
};

static void put(struct sink *sink, const void *data, size_t length)
{
	if (length > sink->room - sink->used)
		abort();
	if (length)
		memcpy(sink->out + sink->used, data, length);
	sink->used += length;
}

static void put_number(struct sink *sink, size_t number)
{
	uint32_t value = (uint32_t)number;

	put(sink, &value, sizeof(value));
}

/* A copy of its own, so that a sanitizer sees what is read beyond it. */
static uint8_t *copy(const uint8_t *data, size_t length)
{
	uint8_t *made = malloc(length ? length : 1);

	if (!made)
		abort();
	if (length)
		memcpy(made, data, length);
	return made;
}

long offload_cut(const uint8_t *vnet, const uint8_t *packet, size_t length, uint8_t *out,
		 size_t room)
{
	struct sink sink = { out, room, 0 };
	uint8_t *own = copy(packet, length), *segment;
	struct ovpn6_cutter cut;
	struct ovpn6_vnet header;
	size_t size;
	uint32_t made = 0;
	long answer;

	memcpy(&header, vnet, sizeof(header));
	answer = ovpn6_cut_begin(&cut, &header, own, length);
	if (answer >= 0) {
		while (ovpn6_cut_next(&cut, &segment, &size)) {
			made++;
			if (made < cut.count ? size != cut.full : size > cut.full)
				abort();
			put_number(&sink, size);
			put(&sink, segment, size);
		}
		if (made != cut.count)
			abort();
		answer = (long)sink.used;
	}
	free(own);
	return answer;
}

static void take(void *context, const struct iovec *parts, int count, unsigned int packets)
{
	struct sink *sink = context;
	size_t length = 0;

	for (int part = 0; part < count; part++)
		length += parts[part].iov_len;
	put_number(sink, packets);
	put_number(sink, length);
	for (int part = 0; part < count; part++)
		put(sink, parts[part].iov_base, parts[part].iov_len);
}

long offload_merge(const uint8_t *in, size_t length, bool udp, uint8_t *out, size_t room)
{
	static struct ovpn6_merger merger;
	struct sink sink = { out, room, 0 };
	size_t most = length / sizeof(uint32_t) + 1, fed = 0;
	uint8_t **packets = calloc(most, sizeof(*packets));

	if (!packets)
		abort();
	ovpn6_merge_init(&merger, take, &sink, udp);
	while (length >= sizeof(uint32_t)) {
		uint32_t size;

		memcpy(&size, in, sizeof(size));
		in += sizeof(size);
		length -= sizeof(size);
		if (size == FLUSH) {
			ovpn6_merge_flush(&merger);
			continue;
		}
		if (size > length)
			size = (uint32_t)length;
		packets[fed] = copy(in, size);
		ovpn6_merge_feed(&merger, packets[fed++], size);
		in += size;
		length -= size;
	}
	ovpn6_merge_flush(&merger);
	while (fed)
		free(packets[--fed]);
	free(packets);
	return (long)sink.used;
}
