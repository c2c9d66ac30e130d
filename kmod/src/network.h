/* SPDX-License-Identifier: GPL-2.0-only */
/* Networks behind a peer, as user space ordered them. */
#ifndef OVPN6_NETWORK_H
#define OVPN6_NETWORK_H

#include "peer.h"

/**
 * struct ovpn6_network - a prefix behind a peer
 * @on_peer: in the list of its peer
 * @prefixes: the trie of its family
 * @length: in bits
 * @address: in network order, as long as the trie's; bits behind the prefix are zero
 */
struct ovpn6_network {
	struct list_head on_peer;
	struct ovpn6_prefixes *prefixes;
	u8 length;
	u8 address[16];
};

int ovpn6_network_add(struct ovpn6_peer *peer, const struct ovpn6_network *wanted);
int ovpn6_network_remove(struct ovpn6_peer *peer, const struct ovpn6_network *unwanted);
void ovpn6_networks_remove_all(struct ovpn6_peer *peer);
bool ovpn6_network_is_host(const struct ovpn6_peer *peer, const struct ovpn6_prefixes *prefixes,
			   const u8 *address);

#endif
