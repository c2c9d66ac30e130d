/* SPDX-License-Identifier: Apache-2.0 */
#include "coalesce.h"

#include <arpa/inet.h>
#include <string.h>

#include "checksum.h"

#define IPV4_HEADER 20
#define IPV6_HEADER 40
#define TCP_HEADER 20
#define UDP_HEADER 8
#define TCP_CSUM 16
#define UDP_CSUM 6
#define MOST_OCTETS 65535

#define DF 0x4000
#define PSH 0x08
#define ACK 0x10

/**
 * struct packet - one that was fed, taken apart
 * @transport: offset of the transport header
 * @headers: octets before the payload
 * @size: octets of payload
 * @mergeable: nothing about it alone forbids merging
 * @last: nothing may follow it in a super-packet
 */
struct packet {
	uint8_t *at;
	uint32_t length;
	uint16_t transport;
	uint16_t headers;
	uint16_t size;
	uint8_t protocol;
	bool mergeable;
	bool last;
};

static uint16_t load16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static void store16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static uint32_t load32(const uint8_t *at)
{
	return (uint32_t)load16(at) << 16 | load16(at + 2);
}

static bool is_ipv6(const uint8_t *packet)
{
	return packet[0] >> 4 == 6;
}

/* --- what a packet is ------------------------------------------------------------------------ */

/* Fragments, options, extension headers and lengths that do not fit are nothing to look into. */
static bool parse_ip(struct packet *p)
{
	const uint8_t *at = p->at;

	if (p->length > MOST_OCTETS)
		return false;
	if (p->length >= IPV6_HEADER && is_ipv6(at)) {
		p->transport = IPV6_HEADER;
		p->protocol = at[6];
		return (uint32_t)load16(at + 4) + IPV6_HEADER == p->length;
	}
	if (p->length >= IPV4_HEADER && at[0] == 0x45) {
		p->transport = IPV4_HEADER;
		p->protocol = at[9];
		return load16(at + 2) == p->length && !(load16(at + 6) & ~DF);
	}
	return false;
}

static bool parse_tcp(struct packet *p)
{
	const uint8_t *tcp = p->at + p->transport;
	uint32_t left = p->length - p->transport;
	uint32_t header;

	if (left < TCP_HEADER)
		return false;
	header = 4 * (uint32_t)(tcp[12] >> 4);
	if (header < TCP_HEADER || header > left)
		return false;
	p->headers = (uint16_t)(p->transport + header);
	p->size = (uint16_t)(left - header);
	p->last = tcp[13] & PSH;
	p->mergeable = p->size && !(tcp[12] & 15) && (tcp[13] & ~PSH) == ACK && !load16(tcp + 18);
	return true;
}

static bool parse_udp(struct packet *p)
{
	const uint8_t *udp = p->at + p->transport;
	uint32_t left = p->length - p->transport;

	if (left < UDP_HEADER || load16(udp + 4) != left)
		return false;
	p->headers = (uint16_t)(p->transport + UDP_HEADER);
	p->size = (uint16_t)(left - UDP_HEADER);
	p->last = false;
	p->mergeable = p->size && load16(udp + UDP_CSUM);
	return true;
}

/* Whether it belongs to a TCP or UDP flow. */
static bool parse(struct packet *p, uint8_t *at, size_t length)
{
	p->at = at;
	p->length = length > MOST_OCTETS ? MOST_OCTETS + 1 : (uint32_t)length;
	if (!parse_ip(p))
		return false;
	if (p->protocol == IPPROTO_TCP)
		return parse_tcp(p);
	return p->protocol == IPPROTO_UDP && parse_udp(p);
}

static bool checksums_fit(const uint8_t *at, uint32_t length, uint16_t transport, uint8_t protocol)
{
	uint64_t sum;

	if (!is_ipv6(at) && ovpn6_sum_fold(ovpn6_sum(at, IPV4_HEADER)) != 0xffff)
		return false;
	sum = ovpn6_pseudo_sum(at, protocol, length - transport);
	sum += ovpn6_sum(at + transport, length - transport);
	return ovpn6_sum_fold(sum) == 0xffff;
}

/* --- does it fit a flow ---------------------------------------------------------------------- */

static bool same_flow(const struct ovpn6_merge_flow *flow, const struct packet *p)
{
	const uint8_t *a = flow->packet, *b = p->at;

	/* The transport header's offset tells the version. Ports are the cheapest difference. */
	if (flow->transport != p->transport || flow->protocol != p->protocol ||
	    memcmp(a + p->transport, b + p->transport, 4))
		return false;
	return is_ipv6(b) ? !memcmp(a + 8, b + 8, 32) : !memcmp(a + 12, b + 12, 8);
}

static bool same_ip(const struct ovpn6_merge_flow *flow, const struct packet *p)
{
	const uint8_t *a = flow->packet, *b = p->at;

	if (is_ipv6(b))
		return !memcmp(a, b, 4) && a[7] == b[7];
	return a[1] == b[1] && a[8] == b[8] && !memcmp(a + 6, b + 6, 2) &&
	       (load16(b + 6) == DF || load16(b + 4) == flow->next_id);
}

static bool same_tcp(const struct ovpn6_merge_flow *flow, const struct packet *p)
{
	const uint8_t *a = flow->packet + flow->transport, *b = p->at + p->transport;

	return load32(b + 4) == flow->next_seq && !memcmp(a + 8, b + 8, 4) &&
	       !memcmp(a + 14, b + 14, 2) &&
	       !memcmp(a + TCP_HEADER, b + TCP_HEADER, (size_t)(p->headers - p->transport) - TCP_HEADER);
}

static bool continues(const struct ovpn6_merge_flow *flow, const struct packet *p)
{
	return p->size <= flow->size && p->headers == flow->headers &&
	       flow->length + p->size <= MOST_OCTETS && same_ip(flow, p) &&
	       (p->protocol == IPPROTO_UDP || same_tcp(flow, p));
}

/* --- what waits ------------------------------------------------------------------------------ */

static void write_whole(struct ovpn6_merger *merger, uint8_t *packet, size_t length)
{
	struct ovpn6_vnet vnet = { 0 };
	struct iovec parts[] = {
		{ .iov_base = &vnet, .iov_len = sizeof(vnet) },
		{ .iov_base = packet, .iov_len = length },
	};

	merger->write(merger->context, parts, 2, 1);
}

/* The first packet's headers become those of the super-packet. */
static void finish_headers(struct ovpn6_merge_flow *flow)
{
	uint8_t *packet = flow->packet, *transport = packet + flow->transport;
	uint32_t covered = flow->length - flow->transport;
	bool udp = flow->protocol == IPPROTO_UDP;
	uint16_t sum;

	if (is_ipv6(packet)) {
		store16(packet + 4, covered);
	} else {
		store16(packet + 2, flow->length);
		store16(packet + 10, 0);
		sum = (uint16_t)~ovpn6_sum_fold(ovpn6_sum(packet, IPV4_HEADER));
		memcpy(packet + 10, &sum, sizeof(sum));
	}
	if (udp)
		store16(transport + 4, covered);
	sum = ovpn6_sum_fold(ovpn6_pseudo_sum(packet, flow->protocol, covered));
	memcpy(transport + (udp ? UDP_CSUM : TCP_CSUM), &sum, sizeof(sum));

	flow->vnet.flags = OVPN6_VNET_NEEDS_CSUM;
	flow->vnet.gso_type = udp ? OVPN6_GSO_UDP_L4 :
			      is_ipv6(packet) ? OVPN6_GSO_TCPV6 : OVPN6_GSO_TCPV4;
	flow->vnet.hdr_len = flow->headers;
	flow->vnet.gso_size = flow->size;
	flow->vnet.csum_start = flow->transport;
	flow->vnet.csum_offset = udp ? UDP_CSUM : TCP_CSUM;
}

static void emit(struct ovpn6_merger *merger, struct ovpn6_merge_flow *flow)
{
	memset(&flow->vnet, 0, sizeof(flow->vnet));
	if (flow->count > 1)
		finish_headers(flow);
	merger->write(merger->context, flow->parts, (int)flow->count + 1, flow->count);
}

/* Write the flow at this place in the order and forget it. */
static void release(struct ovpn6_merger *merger, unsigned int place)
{
	uint8_t slot = merger->order[place];

	emit(merger, &merger->flows[slot]);
	merger->used--;
	memmove(merger->order + place, merger->order + place + 1, merger->used - place);
	merger->order[merger->used] = slot;
}

static void hold(struct ovpn6_merger *merger, const struct packet *p, bool verified)
{
	struct ovpn6_merge_flow *flow;

	if (merger->used == OVPN6_MERGE_FLOWS)
		release(merger, 0);
	flow = &merger->flows[merger->order[merger->used++]];
	flow->packet = p->at;
	flow->length = p->length;
	flow->next_seq = load32(p->at + p->transport + 4) + p->size;
	flow->next_id = (uint16_t)(load16(p->at + 4) + 1);
	flow->transport = p->transport;
	flow->headers = p->headers;
	flow->size = p->size;
	flow->protocol = p->protocol;
	flow->verified = verified;
	flow->count = 1;
	flow->parts[0] = (struct iovec){ .iov_base = &flow->vnet, .iov_len = sizeof(flow->vnet) };
	flow->parts[1] = (struct iovec){ .iov_base = p->at, .iov_len = p->length };
}

static void append(struct ovpn6_merge_flow *flow, const struct packet *p)
{
	flow->parts[++flow->count] =
		(struct iovec){ .iov_base = p->at + p->headers, .iov_len = p->size };
	flow->length += p->size;
	flow->next_seq += p->size;
	flow->next_id++;
	if (p->last)
		flow->packet[flow->transport + 13] |= PSH;
}

/* A packet of a flow that waits at this place. */
static void join(struct ovpn6_merger *merger, unsigned int place, const struct packet *p)
{
	struct ovpn6_merge_flow *flow = &merger->flows[merger->order[place]];
	bool fits = continues(flow, p);

	if (fits && !checksums_fit(p->at, p->length, p->transport, p->protocol)) {
		release(merger, place);
		write_whole(merger, p->at, p->length);
		return;
	}
	if (fits && !flow->verified)
		flow->verified = checksums_fit(flow->packet, flow->length, flow->transport,
					       flow->protocol);
	if (fits && flow->verified) {
		append(flow, p);
		if (p->last || p->size < flow->size || flow->count == OVPN6_MERGE_SEGMENTS)
			release(merger, place);
		return;
	}
	release(merger, place);
	if (p->last)
		write_whole(merger, p->at, p->length);
	else
		hold(merger, p, fits);
}

void ovpn6_merge_init(struct ovpn6_merger *merger, ovpn6_merge_write *write, void *context,
		      bool udp)
{
	merger->write = write;
	merger->context = context;
	merger->udp = udp;
	merger->used = 0;
	for (uint8_t slot = 0; slot < OVPN6_MERGE_FLOWS; slot++)
		merger->order[slot] = slot;
}

void ovpn6_merge_feed(struct ovpn6_merger *merger, uint8_t *packet, size_t length)
{
	struct packet p = { 0 };
	unsigned int place = 0;

	if (!parse(&p, packet, length)) {
		/* It may belong to any flow: a later fragment does not say. */
		ovpn6_merge_flush(merger);
		write_whole(merger, packet, length);
		return;
	}
	if (p.protocol == IPPROTO_UDP && !merger->udp)
		p.mergeable = false;
	while (place < merger->used && !same_flow(&merger->flows[merger->order[place]], &p))
		place++;
	if (p.mergeable && place < merger->used) {
		join(merger, place, &p);
		return;
	}
	if (place < merger->used)
		release(merger, place);
	if (p.mergeable && !p.last)
		hold(merger, &p, false);
	else
		write_whole(merger, packet, length);
}

void ovpn6_merge_flush(struct ovpn6_merger *merger)
{
	while (merger->used)
		release(merger, 0);
}
