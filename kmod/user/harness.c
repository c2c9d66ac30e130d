// SPDX-License-Identifier: GPL-2.0-only
/* The pure files for ctypes: what is inline or a structure there is a function of plain numbers. */

#include "../src/packet.h"
#include "../src/prefix.h"
#include "../src/replay.h"

struct ovpn6_replay *harness_replay_new(void);
void harness_replay_free(struct ovpn6_replay *window);
struct ovpn6_prefixes *harness_prefixes_new(u8 bits);
void harness_prefixes_free(struct ovpn6_prefixes *prefixes);
int harness_prefixes_empty(const struct ovpn6_prefixes *prefixes);
int harness_verdict(u8 first, size_t length);
void harness_header(const u8 *data, u32 *numbers);
void harness_encode(u8 key_id, u32 peer_id, u32 packet_id, u8 *data);
unsigned int harness_ip_version(const u8 *data, size_t length);
const u8 *harness_ping(void);

struct ovpn6_replay *harness_replay_new(void)
{
	return calloc(1, sizeof(struct ovpn6_replay));
}

void harness_replay_free(struct ovpn6_replay *window)
{
	free(window);
}

struct ovpn6_prefixes *harness_prefixes_new(u8 bits)
{
	struct ovpn6_prefixes *made = calloc(1, sizeof(*made));

	if (made)
		ovpn6_prefixes_init(made, bits, NULL);
	return made;
}

void harness_prefixes_free(struct ovpn6_prefixes *prefixes)
{
	ovpn6_prefixes_clear(prefixes);
	free(prefixes);
}

int harness_prefixes_empty(const struct ovpn6_prefixes *prefixes)
{
	return !prefixes->root;
}

int harness_verdict(u8 first, size_t length)
{
	return (int)ovpn6_verdict_of(first, length);
}

void harness_header(const u8 *data, u32 *numbers)
{
	struct ovpn6_header header = ovpn6_header_decode(data);

	numbers[0] = header.key_id;
	numbers[1] = header.peer_id;
	numbers[2] = header.packet_id;
}

void harness_encode(u8 key_id, u32 peer_id, u32 packet_id, u8 *data)
{
	struct ovpn6_header header = {
		.key_id = key_id, .peer_id = peer_id, .packet_id = packet_id
	};

	ovpn6_header_encode(header, data);
}

unsigned int harness_ip_version(const u8 *data, size_t length)
{
	return ovpn6_ip_version(data, length);
}

const u8 *harness_ping(void)
{
	return ovpn6_ping;
}
