/* SPDX-License-Identifier: GPL-2.0-only */
/* Made by netlink/generate.py from netlink/contract.py. */
#ifndef OVPN6_POLICIES_H
#define OVPN6_POLICIES_H

#include <net/netlink.h>

#include "ovpn6_netlink.h"

#define OVPN6_KEYDIR_LAST 2
extern const struct nla_policy ovpn6_keydir_policy[2 + 1];
#define OVPN6_PEER_NEW_LAST 24
extern const struct nla_policy ovpn6_peer_new_policy[24 + 1];
#define OVPN6_PEER_SET_LAST 24
extern const struct nla_policy ovpn6_peer_set_policy[24 + 1];
#define OVPN6_PEER_GET_LAST 24
extern const struct nla_policy ovpn6_peer_get_policy[24 + 1];
#define OVPN6_PEER_DEL_LAST 1
extern const struct nla_policy ovpn6_peer_del_policy[1 + 1];
#define OVPN6_KEY_NEW_LAST 6
extern const struct nla_policy ovpn6_key_new_policy[6 + 1];
#define OVPN6_KEY_GET_LAST 2
extern const struct nla_policy ovpn6_key_get_policy[2 + 1];
#define OVPN6_KEY_SWAP_LAST 1
extern const struct nla_policy ovpn6_key_swap_policy[1 + 1];
#define OVPN6_KEY_DEL_LAST 2
extern const struct nla_policy ovpn6_key_del_policy[2 + 1];
#define OVPN6_PREFIX_NEW_LAST 4
extern const struct nla_policy ovpn6_prefix_new_policy[4 + 1];
#define OVPN6_PREFIX_DEL_LAST 4
extern const struct nla_policy ovpn6_prefix_del_policy[4 + 1];
extern const struct nla_policy ovpn6_peer_new_request[OVPN6_A_PEER + 1];
extern const struct nla_policy ovpn6_peer_set_request[OVPN6_A_PEER + 1];
extern const struct nla_policy ovpn6_peer_get_request[OVPN6_A_PEER + 1];
extern const struct nla_policy ovpn6_peer_del_request[OVPN6_A_PEER + 1];
extern const struct nla_policy ovpn6_key_new_request[OVPN6_A_KEYCONF + 1];
extern const struct nla_policy ovpn6_key_get_request[OVPN6_A_KEYCONF + 1];
extern const struct nla_policy ovpn6_key_swap_request[OVPN6_A_KEYCONF + 1];
extern const struct nla_policy ovpn6_key_del_request[OVPN6_A_KEYCONF + 1];
extern const struct nla_policy ovpn6_prefix_new_request[OVPN6_A_PREFIX + 1];
extern const struct nla_policy ovpn6_prefix_del_request[OVPN6_A_PREFIX + 1];
extern const struct nla_policy ovpn6_prefix_get_request[OVPN6_A_IFINDEX + 1];

#endif
