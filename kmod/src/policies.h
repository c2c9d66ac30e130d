/* SPDX-License-Identifier: GPL-2.0-only */
/* Made by netlink/generate.py from netlink/contract.py. */
#ifndef OVPN6_POLICIES_H
#define OVPN6_POLICIES_H

#define OVPN6_KEYDIR_LAST 2
static const struct nla_policy ovpn6_keydir_policy[2 + 1] = {
	[OVPN6_A_KEYDIR_CIPHER_KEY] = OVPN6_POLICY_MAX_LEN(256),
	[OVPN6_A_KEYDIR_NONCE_TAIL] = NLA_POLICY_EXACT_LEN(8),
};

#define OVPN6_PEER_NEW_LAST 24
static const struct nla_policy ovpn6_peer_new_policy[24 + 1] = {
	[OVPN6_A_PEER_ID] = NLA_POLICY_MAX(NLA_U32, 0xffffff),
	[OVPN6_A_PEER_REMOTE_IPV4] = { .type = NLA_BE32 },
	[OVPN6_A_PEER_REMOTE_IPV6] = NLA_POLICY_EXACT_LEN(16),
	[OVPN6_A_PEER_REMOTE_IPV6_SCOPE_ID] = { .type = NLA_U32 },
	[OVPN6_A_PEER_REMOTE_PORT] = NLA_POLICY_MIN(NLA_BE16, 1),
	[OVPN6_A_PEER_SOCKET] = { .type = NLA_U32 },
	[OVPN6_A_PEER_VPN_IPV4] = { .type = NLA_BE32 },
	[OVPN6_A_PEER_VPN_IPV6] = NLA_POLICY_EXACT_LEN(16),
	[OVPN6_A_PEER_LOCAL_IPV4] = { .type = NLA_BE32 },
	[OVPN6_A_PEER_LOCAL_IPV6] = NLA_POLICY_EXACT_LEN(16),
	[OVPN6_A_PEER_KEEPALIVE_INTERVAL] = NLA_POLICY_MAX(NLA_U32, 0x15180),
	[OVPN6_A_PEER_KEEPALIVE_TIMEOUT] = NLA_POLICY_MAX(NLA_U32, 0x15180),
	[OVPN6_A_PEER_TX_ID] = NLA_POLICY_MAX(NLA_U32, 0xffffff),
};

#define OVPN6_PEER_SET_LAST 24
static const struct nla_policy ovpn6_peer_set_policy[24 + 1] = {
	[OVPN6_A_PEER_ID] = NLA_POLICY_MAX(NLA_U32, 0xffffff),
	[OVPN6_A_PEER_REMOTE_IPV4] = { .type = NLA_BE32 },
	[OVPN6_A_PEER_REMOTE_IPV6] = NLA_POLICY_EXACT_LEN(16),
	[OVPN6_A_PEER_REMOTE_IPV6_SCOPE_ID] = { .type = NLA_U32 },
	[OVPN6_A_PEER_REMOTE_PORT] = NLA_POLICY_MIN(NLA_BE16, 1),
	[OVPN6_A_PEER_VPN_IPV4] = { .type = NLA_BE32 },
	[OVPN6_A_PEER_VPN_IPV6] = NLA_POLICY_EXACT_LEN(16),
	[OVPN6_A_PEER_LOCAL_IPV4] = { .type = NLA_BE32 },
	[OVPN6_A_PEER_LOCAL_IPV6] = NLA_POLICY_EXACT_LEN(16),
	[OVPN6_A_PEER_KEEPALIVE_INTERVAL] = NLA_POLICY_MAX(NLA_U32, 0x15180),
	[OVPN6_A_PEER_KEEPALIVE_TIMEOUT] = NLA_POLICY_MAX(NLA_U32, 0x15180),
	[OVPN6_A_PEER_TX_ID] = NLA_POLICY_MAX(NLA_U32, 0xffffff),
};

#define OVPN6_PEER_GET_LAST 24
static const struct nla_policy ovpn6_peer_get_policy[24 + 1] = {
	[OVPN6_A_PEER_ID] = NLA_POLICY_MAX(NLA_U32, 0xffffff),
	[OVPN6_A_PEER_REMOTE_IPV4] = { .type = NLA_BE32 },
	[OVPN6_A_PEER_REMOTE_IPV6] = NLA_POLICY_EXACT_LEN(16),
	[OVPN6_A_PEER_REMOTE_IPV6_SCOPE_ID] = { .type = NLA_U32 },
	[OVPN6_A_PEER_REMOTE_PORT] = NLA_POLICY_MIN(NLA_BE16, 1),
	[OVPN6_A_PEER_SOCKET] = { .type = NLA_U32 },
	[OVPN6_A_PEER_SOCKET_NETNSID] = { .type = NLA_S32 },
	[OVPN6_A_PEER_VPN_IPV4] = { .type = NLA_BE32 },
	[OVPN6_A_PEER_VPN_IPV6] = NLA_POLICY_EXACT_LEN(16),
	[OVPN6_A_PEER_LOCAL_IPV4] = { .type = NLA_BE32 },
	[OVPN6_A_PEER_LOCAL_IPV6] = NLA_POLICY_EXACT_LEN(16),
	[OVPN6_A_PEER_LOCAL_PORT] = { .type = NLA_BE16 },
	[OVPN6_A_PEER_KEEPALIVE_INTERVAL] = NLA_POLICY_MAX(NLA_U32, 0x15180),
	[OVPN6_A_PEER_KEEPALIVE_TIMEOUT] = NLA_POLICY_MAX(NLA_U32, 0x15180),
	[OVPN6_A_PEER_DEL_REASON] = NLA_POLICY_MAX(NLA_U32, 0x4),
	[OVPN6_A_PEER_VPN_RX_BYTES] = OVPN6_POLICY_COUNTER,
	[OVPN6_A_PEER_VPN_TX_BYTES] = OVPN6_POLICY_COUNTER,
	[OVPN6_A_PEER_VPN_RX_PACKETS] = OVPN6_POLICY_COUNTER,
	[OVPN6_A_PEER_VPN_TX_PACKETS] = OVPN6_POLICY_COUNTER,
	[OVPN6_A_PEER_LINK_RX_BYTES] = OVPN6_POLICY_COUNTER,
	[OVPN6_A_PEER_LINK_TX_BYTES] = OVPN6_POLICY_COUNTER,
	[OVPN6_A_PEER_LINK_RX_PACKETS] = OVPN6_POLICY_COUNTER,
	[OVPN6_A_PEER_LINK_TX_PACKETS] = OVPN6_POLICY_COUNTER,
	[OVPN6_A_PEER_TX_ID] = NLA_POLICY_MAX(NLA_U32, 0xffffff),
};

#define OVPN6_PEER_DEL_LAST 1
static const struct nla_policy ovpn6_peer_del_policy[1 + 1] = {
	[OVPN6_A_PEER_ID] = NLA_POLICY_MAX(NLA_U32, 0xffffff),
};

#define OVPN6_KEY_NEW_LAST 6
static const struct nla_policy ovpn6_key_new_policy[6 + 1] = {
	[OVPN6_A_KEYCONF_PEER_ID] = NLA_POLICY_MAX(NLA_U32, 0xffffff),
	[OVPN6_A_KEYCONF_SLOT] = NLA_POLICY_MAX(NLA_U32, 0x1),
	[OVPN6_A_KEYCONF_KEY_ID] = NLA_POLICY_MAX(NLA_U32, 0x7),
	[OVPN6_A_KEYCONF_CIPHER_ALG] = NLA_POLICY_MAX(NLA_U32, 0x2),
	[OVPN6_A_KEYCONF_ENCRYPT_DIR] = NLA_POLICY_NESTED(ovpn6_keydir_policy),
	[OVPN6_A_KEYCONF_DECRYPT_DIR] = NLA_POLICY_NESTED(ovpn6_keydir_policy),
};

#define OVPN6_KEY_GET_LAST 2
static const struct nla_policy ovpn6_key_get_policy[2 + 1] = {
	[OVPN6_A_KEYCONF_PEER_ID] = NLA_POLICY_MAX(NLA_U32, 0xffffff),
	[OVPN6_A_KEYCONF_SLOT] = NLA_POLICY_MAX(NLA_U32, 0x1),
};

#define OVPN6_KEY_SWAP_LAST 1
static const struct nla_policy ovpn6_key_swap_policy[1 + 1] = {
	[OVPN6_A_KEYCONF_PEER_ID] = NLA_POLICY_MAX(NLA_U32, 0xffffff),
};

#define OVPN6_KEY_DEL_LAST 2
static const struct nla_policy ovpn6_key_del_policy[2 + 1] = {
	[OVPN6_A_KEYCONF_PEER_ID] = NLA_POLICY_MAX(NLA_U32, 0xffffff),
	[OVPN6_A_KEYCONF_SLOT] = NLA_POLICY_MAX(NLA_U32, 0x1),
};

static const struct nla_policy ovpn6_peer_new_request[OVPN6_A_PEER + 1] = {
	[OVPN6_A_IFINDEX] = { .type = NLA_U32 },
	[OVPN6_A_PEER] = NLA_POLICY_NESTED(ovpn6_peer_new_policy),
};

static const struct nla_policy ovpn6_peer_set_request[OVPN6_A_PEER + 1] = {
	[OVPN6_A_IFINDEX] = { .type = NLA_U32 },
	[OVPN6_A_PEER] = NLA_POLICY_NESTED(ovpn6_peer_set_policy),
};

static const struct nla_policy ovpn6_peer_get_request[OVPN6_A_PEER + 1] = {
	[OVPN6_A_IFINDEX] = { .type = NLA_U32 },
	[OVPN6_A_PEER] = NLA_POLICY_NESTED(ovpn6_peer_get_policy),
};

static const struct nla_policy ovpn6_peer_del_request[OVPN6_A_PEER + 1] = {
	[OVPN6_A_IFINDEX] = { .type = NLA_U32 },
	[OVPN6_A_PEER] = NLA_POLICY_NESTED(ovpn6_peer_del_policy),
};

static const struct nla_policy ovpn6_key_new_request[OVPN6_A_KEYCONF + 1] = {
	[OVPN6_A_IFINDEX] = { .type = NLA_U32 },
	[OVPN6_A_KEYCONF] = NLA_POLICY_NESTED(ovpn6_key_new_policy),
};

static const struct nla_policy ovpn6_key_get_request[OVPN6_A_KEYCONF + 1] = {
	[OVPN6_A_IFINDEX] = { .type = NLA_U32 },
	[OVPN6_A_KEYCONF] = NLA_POLICY_NESTED(ovpn6_key_get_policy),
};

static const struct nla_policy ovpn6_key_swap_request[OVPN6_A_KEYCONF + 1] = {
	[OVPN6_A_IFINDEX] = { .type = NLA_U32 },
	[OVPN6_A_KEYCONF] = NLA_POLICY_NESTED(ovpn6_key_swap_policy),
};

static const struct nla_policy ovpn6_key_del_request[OVPN6_A_KEYCONF + 1] = {
	[OVPN6_A_IFINDEX] = { .type = NLA_U32 },
	[OVPN6_A_KEYCONF] = NLA_POLICY_NESTED(ovpn6_key_del_policy),
};

#endif
