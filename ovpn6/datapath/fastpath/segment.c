/* SPDX-License-Identifier: Apache-2.0 */
#include "segment.h"

#include <arpa/inet.h>
#include <string.h>

#include "checksum.h"

#define IPV4_HEADER 20
#define IPV6_HEADER 40
#define TCP_HEADER 20
#define UDP_HEADER 8
#define TCP_CSUM 16
#define UDP_CSUM 6
#define TCP_FLAGS 13

#define FIN 0x01
#define PSH 0x08
#define CWR 0x80

static uint16_t load16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static void store16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void store32(uint8_t *at, uint32_t value)
{
	store16(at, value >> 16);
	store16(at + 2, value);
}

static uint32_t load32(const uint8_t *at)
{
	return (uint32_t)load16(at) << 16 | load16(at + 2);
}

/* The field holds a sum that belongs to what follows. @zero: what stands for a result of zero. */
static void complete(uint8_t *from, size_t length, uint8_t *field, uint16_t zero)
{
	uint16_t sum = (uint16_t)~ovpn6_sum_fold(ovpn6_sum(from, length));

	if (!sum)
		sum = zero;
	memcpy(field, &sum, sizeof(sum));
}

static size_t ip_header(const uint8_t *packet, size_t length)
{
	if (length >= IPV6_HEADER && packet[0] >> 4 == 6)
		return IPV6_HEADER;
	if (length >= IPV4_HEADER && packet[0] >> 4 == 4 && (packet[0] & 15) >= 5)
		return 4 * (size_t)(packet[0] & 15);
	return 0;
}

static int begin_whole(struct ovpn6_cutter *cut, const struct ovpn6_vnet *vnet)
{
	if (vnet->flags & OVPN6_VNET_NEEDS_CSUM) {
		size_t field = (size_t)vnet->csum_start + vnet->csum_offset;

		if (field + 2 > cut->length)
			return OVPN6_CUT_CSUM_RANGE;
		/* Zero would say "no checksum" in UDP; elsewhere 0xffff means the same. */
		complete(cut->packet + vnet->csum_start, cut->length - vnet->csum_start,
			 cut->packet + field, 0xffff);
	}
	cut->count = 1;
	cut->full = (uint32_t)cut->length;
	return 0;
}

/* Octets of the transport header, 0 when it does not fit the packet or the vnet header. */
static size_t transport_header(const struct ovpn6_cutter *cut, const struct ovpn6_vnet *vnet)
{
	const uint8_t *at = cut->packet + vnet->csum_start;
	size_t left = cut->length - vnet->csum_start;
	size_t header;

	if (cut->protocol == IPPROTO_UDP)
		return vnet->csum_offset == UDP_CSUM && left > UDP_HEADER ? UDP_HEADER : 0;
	if (vnet->csum_offset != TCP_CSUM || left <= TCP_HEADER)
		return 0;
	header = 4 * (size_t)(at[12] >> 4);
	return header >= TCP_HEADER && header < left ? header : 0;
}

int ovpn6_cut_begin(struct ovpn6_cutter *cut, const struct ovpn6_vnet *vnet, uint8_t *packet,
		    size_t length)
{
	uint8_t type = vnet->gso_type & (uint8_t)~OVPN6_GSO_ECN;
	uint8_t version = length ? packet[0] >> 4 : 0;
	size_t network = ip_header(packet, length);
	size_t payload, header;

	if (!network)
		return OVPN6_CUT_NOT_IP;
	cut->packet = packet;
	cut->length = length;
	cut->next = 0;
	cut->headers = 0;
	if (type == OVPN6_GSO_NONE)
		return begin_whole(cut, vnet);

	if (type == OVPN6_GSO_UDP_L4)
		cut->protocol = IPPROTO_UDP;
	else if (type == (version == 6 ? OVPN6_GSO_TCPV6 : OVPN6_GSO_TCPV4))
		cut->protocol = IPPROTO_TCP;
	else
		return OVPN6_CUT_GSO_TYPE;
	if (!vnet->gso_size || length > 0xffff)
		return OVPN6_CUT_GSO_SIZE;
	if (!(vnet->flags & OVPN6_VNET_NEEDS_CSUM) || vnet->csum_start >= length ||
	    vnet->csum_start < network || (version == 4 && vnet->csum_start != network))
		return OVPN6_CUT_CSUM_RANGE;
	header = transport_header(cut, vnet);
	if (!header || vnet->csum_start + header > OVPN6_MAX_HEADERS)
		return OVPN6_CUT_HEADERS;

	cut->transport = vnet->csum_start;
	cut->headers = (uint16_t)(vnet->csum_start + header);
	cut->size = vnet->gso_size;
	payload = length - cut->headers;
	cut->count = (uint32_t)((payload + cut->size - 1) / cut->size);
	cut->full = cut->headers + (cut->count == 1 ? (uint32_t)payload : cut->size);
	/*
	 * The field holds the pseudo-header's sum with the length of the whole; the addresses in
	 * it need not be those of the IP header (routing headers). Each segment adds its length.
	 */
	memcpy(cut->template, packet, cut->headers);
	cut->pseudo = load16(packet + cut->transport + vnet->csum_offset);
	cut->pseudo += (uint16_t)~(length - cut->transport);
	return 0;
}

static void write_ip(const struct ovpn6_cutter *cut, uint8_t *packet, size_t length)
{
	uint16_t sum;

	if (packet[0] >> 4 == 6) {
		store16(packet + 4, (uint32_t)length - IPV6_HEADER);
		return;
	}
	store16(packet + 2, (uint32_t)length);
	store16(packet + 4, load16(cut->template + 4) + cut->next);
	store16(packet + 10, 0);
	sum = (uint16_t)~ovpn6_sum_fold(ovpn6_sum(packet, cut->transport));
	memcpy(packet + 10, &sum, sizeof(sum));
}

static void write_tcp(const struct ovpn6_cutter *cut, uint8_t *tcp)
{
	store32(tcp + 4, load32(cut->template + cut->transport + 4) + cut->next * cut->size);
	if (cut->next)
		tcp[TCP_FLAGS] &= (uint8_t)~CWR;
	if (cut->next + 1 < cut->count)
		tcp[TCP_FLAGS] &= (uint8_t)~(FIN | PSH);
}

bool ovpn6_cut_next(struct ovpn6_cutter *cut, uint8_t **segment, size_t *length)
{
	size_t offset = (size_t)cut->next * cut->size;
	uint8_t *packet = cut->packet, *transport;
	size_t total = cut->length;

	if (cut->next == cut->count)
		return false;
	if (cut->headers) {
		size_t covered;
		uint64_t pseudo;

		packet += offset;
		total -= offset;
		if (total > cut->full)
			total = cut->full;
		memcpy(packet, cut->template, cut->headers);
		write_ip(cut, packet, total);
		transport = packet + cut->transport;
		covered = total - cut->transport;
		pseudo = ovpn6_sum_fold(cut->pseudo + covered);
		if (cut->protocol == IPPROTO_UDP) {
			store16(transport + 4, (uint32_t)covered);
			store16(transport + UDP_CSUM, (uint32_t)pseudo);
			complete(transport, covered, transport + UDP_CSUM, 0xffff);
		} else {
			write_tcp(cut, transport);
			store16(transport + TCP_CSUM, (uint32_t)pseudo);
			complete(transport, covered, transport + TCP_CSUM, 0);
		}
	}
	cut->next++;
	*segment = packet;
	*length = total;
	return true;
}
