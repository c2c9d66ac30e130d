/* SPDX-License-Identifier: Apache-2.0 */
#include "ecn.h"

#define DROP (-1)

/* RFC 6040 figure 4: a row for each inner field, a column for each outer one. */
static const int8_t egress[4][4] = {
	[OVPN6_NOT_ECT] = {
		[OVPN6_NOT_ECT] = OVPN6_NOT_ECT,
		[OVPN6_ECT0] = OVPN6_NOT_ECT,
		[OVPN6_ECT1] = OVPN6_NOT_ECT,
		[OVPN6_CE] = DROP,
	},
	[OVPN6_ECT0] = {
		[OVPN6_NOT_ECT] = OVPN6_ECT0,
		[OVPN6_ECT0] = OVPN6_ECT0,
		[OVPN6_ECT1] = OVPN6_ECT1,
		[OVPN6_CE] = OVPN6_CE,
	},
	[OVPN6_ECT1] = {
		[OVPN6_NOT_ECT] = OVPN6_ECT1,
		[OVPN6_ECT0] = OVPN6_ECT1,
		[OVPN6_ECT1] = OVPN6_ECT1,
		[OVPN6_CE] = OVPN6_CE,
	},
	[OVPN6_CE] = {
		[OVPN6_NOT_ECT] = OVPN6_CE,
		[OVPN6_ECT0] = OVPN6_CE,
		[OVPN6_ECT1] = OVPN6_CE,
		[OVPN6_CE] = OVPN6_CE,
	},
};

uint8_t ovpn6_traffic_class(const uint8_t *packet)
{
	if (packet[0] >> 4 == 6)
		return (uint8_t)(packet[0] << 4 | packet[1] >> 4);
	return packet[1];
}

void ovpn6_set_traffic_class(uint8_t *packet, uint8_t traffic_class)
{
	uint32_t sum;

	if (packet[0] >> 4 == 6) {
		packet[0] = (uint8_t)(0x60 | traffic_class >> 4);
		packet[1] = (uint8_t)(traffic_class << 4 | (packet[1] & 0x0f));
		return;
	}
	/* RFC 1624 equation 3: the octet is the low half of the header's first word. */
	sum = (uint16_t)~(packet[10] << 8 | packet[11]);
	sum += (uint16_t)~(packet[0] << 8 | packet[1]);
	sum += (uint32_t)(packet[0] << 8 | traffic_class);
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	packet[1] = traffic_class;
	packet[10] = (uint8_t)(~sum >> 8);
	packet[11] = (uint8_t)~sum;
}

uint8_t ovpn6_outer_class(uint8_t inner, bool copy_ecn, bool copy_dscp)
{
	uint8_t copied = copy_ecn ? OVPN6_ECN_MASK : 0;

	if (copy_dscp)
		copied |= (uint8_t)~OVPN6_ECN_MASK;
	return inner & copied;
}

int ovpn6_inner_ecn(uint8_t inner, uint8_t outer)
{
	return egress[inner & OVPN6_ECN_MASK][outer & OVPN6_ECN_MASK];
}

bool ovpn6_ecn_deliver(uint8_t *packet, uint8_t outer)
{
	uint8_t inner = ovpn6_traffic_class(packet);
	int ecn = ovpn6_inner_ecn(inner, outer);

	if (ecn < 0)
		return false;
	if (ecn != (inner & OVPN6_ECN_MASK))
		ovpn6_set_traffic_class(packet, (uint8_t)((inner & ~OVPN6_ECN_MASK) | ecn));
	return true;
}
