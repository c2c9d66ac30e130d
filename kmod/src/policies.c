// SPDX-License-Identifier: GPL-2.0-only
/* Made by netlink/generate.py from netlink/contract.py. */

#include "policies.h"

static struct netlink_range_validation up_to_86400 = { .max = 86400 };
static struct netlink_range_validation up_to_16777215 = { .max = 16777215 };

const struct nla_policy ovpn6_keydir_policy[] = {
	[OVPN6_A_KEYDIR_CIPHER_KEY] = NLA_POLICY_MAX(NLA_BINARY, 256),
	[OVPN6_A_KEYDIR_NONCE_TAIL] = NLA_POLICY_EXACT_LEN(8),
};

const struct nla_policy ovpn6_peer_new_policy[] = {
	[OVPN6_A_PEER_ID] = NLA_POLICY_FULL_RANGE(NLA_U32, &up_to_16777215),
	[OVPN6_A_PEER_REMOTE_IPV4] = { .type = NLA_BE32 },
	[OVPN6_A_PEER_REMOTE_IPV6] = NLA_POLICY_EXACT_LEN(16),
	[OVPN6_A_PEER_REMOTE_IPV6_SCOPE_ID] = { .type = NLA_U32 },
	[OVPN6_A_PEER_REMOTE_PORT] = NLA_POLICY_MIN(NLA_BE16, 1),
	[OVPN6_A_PEER_SOCKET] = { .type = NLA_U32 },
	[OVPN6_A_PEER_VPN_IPV4] = { .type = NLA_BE32 },
	[OVPN6_A_PEER_VPN_IPV6] = NLA_POLICY_EXACT_LEN(16),
	[OVPN6_A_PEER_LOCAL_IPV4] = { .type = NLA_BE32 },
	[OVPN6_A_PEER_LOCAL_IPV6] = NLA_POLICY_EXACT_LEN(16),
	[OVPN6_A_PEER_KEEPALIVE_INTERVAL] = NLA_POLICY_FULL_RANGE(NLA_U32, &up_to_86400),
	[OVPN6_A_PEER_KEEPALIVE_TIMEOUT] = NLA_POLICY_FULL_RANGE(NLA_U32, &up_to_86400),
	[OVPN6_A_PEER_TX_ID] = NLA_POLICY_FULL_RANGE(NLA_U32, &up_to_16777215),
};

const struct nla_policy ovpn6_peer_set_policy[] = {
	[OVPN6_A_PEER_ID] = NLA_POLICY_FULL_RANGE(NLA_U32, &up_to_16777215),
	[OVPN6_A_PEER_REMOTE_IPV4] = { .type = NLA_BE32 },
	[OVPN6_A_PEER_REMOTE_IPV6] = NLA_POLICY_EXACT_LEN(16),
	[OVPN6_A_PEER_REMOTE_IPV6_SCOPE_ID] = { .type = NLA_U32 },
	[OVPN6_A_PEER_REMOTE_PORT] = NLA_POLICY_MIN(NLA_BE16, 1),
	[OVPN6_A_PEER_VPN_IPV4] = { .type = NLA_BE32 },
	[OVPN6_A_PEER_VPN_IPV6] = NLA_POLICY_EXACT_LEN(16),
	[OVPN6_A_PEER_LOCAL_IPV4] = { .type = NLA_BE32 },
	[OVPN6_A_PEER_LOCAL_IPV6] = NLA_POLICY_EXACT_LEN(16),
	[OVPN6_A_PEER_KEEPALIVE_INTERVAL] = NLA_POLICY_FULL_RANGE(NLA_U32, &up_to_86400),
	[OVPN6_A_PEER_KEEPALIVE_TIMEOUT] = NLA_POLICY_FULL_RANGE(NLA_U32, &up_to_86400),
	[OVPN6_A_PEER_TX_ID] = NLA_POLICY_FULL_RANGE(NLA_U32, &up_to_16777215),
};

const struct nla_policy ovpn6_peer_get_policy[] = {
	[OVPN6_A_PEER_ID] = NLA_POLICY_FULL_RANGE(NLA_U32, &up_to_16777215),
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
	[OVPN6_A_PEER_KEEPALIVE_INTERVAL] = NLA_POLICY_FULL_RANGE(NLA_U32, &up_to_86400),
	[OVPN6_A_PEER_KEEPALIVE_TIMEOUT] = NLA_POLICY_FULL_RANGE(NLA_U32, &up_to_86400),
	[OVPN6_A_PEER_DEL_REASON] = NLA_POLICY_MAX(NLA_U32, 4),
	[OVPN6_A_PEER_VPN_RX_BYTES] = NLA_POLICY_RANGE(NLA_BINARY, 4, 8),
	[OVPN6_A_PEER_VPN_TX_BYTES] = NLA_POLICY_RANGE(NLA_BINARY, 4, 8),
	[OVPN6_A_PEER_VPN_RX_PACKETS] = NLA_POLICY_RANGE(NLA_BINARY, 4, 8),
	[OVPN6_A_PEER_VPN_TX_PACKETS] = NLA_POLICY_RANGE(NLA_BINARY, 4, 8),
	[OVPN6_A_PEER_LINK_RX_BYTES] = NLA_POLICY_RANGE(NLA_BINARY, 4, 8),
	[OVPN6_A_PEER_LINK_TX_BYTES] = NLA_POLICY_RANGE(NLA_BINARY, 4, 8),
	[OVPN6_A_PEER_LINK_RX_PACKETS] = NLA_POLICY_RANGE(NLA_BINARY, 4, 8),
	[OVPN6_A_PEER_LINK_TX_PACKETS] = NLA_POLICY_RANGE(NLA_BINARY, 4, 8),
	[OVPN6_A_PEER_TX_ID] = NLA_POLICY_FULL_RANGE(NLA_U32, &up_to_16777215),
};

const struct nla_policy ovpn6_peer_del_policy[] = {
	[OVPN6_A_PEER_ID] = NLA_POLICY_FULL_RANGE(NLA_U32, &up_to_16777215),
};

const struct nla_policy ovpn6_key_new_policy[] = {
	[OVPN6_A_KEYCONF_PEER_ID] = NLA_POLICY_FULL_RANGE(NLA_U32, &up_to_16777215),
	[OVPN6_A_KEYCONF_SLOT] = NLA_POLICY_MAX(NLA_U32, 1),
	[OVPN6_A_KEYCONF_KEY_ID] = NLA_POLICY_MAX(NLA_U32, 7),
	[OVPN6_A_KEYCONF_CIPHER_ALG] = NLA_POLICY_MAX(NLA_U32, 2),
	[OVPN6_A_KEYCONF_ENCRYPT_DIR] = NLA_POLICY_NESTED(ovpn6_keydir_policy),
	[OVPN6_A_KEYCONF_DECRYPT_DIR] = NLA_POLICY_NESTED(ovpn6_keydir_policy),
};

const struct nla_policy ovpn6_key_get_policy[] = {
	[OVPN6_A_KEYCONF_PEER_ID] = NLA_POLICY_FULL_RANGE(NLA_U32, &up_to_16777215),
	[OVPN6_A_KEYCONF_SLOT] = NLA_POLICY_MAX(NLA_U32, 1),
};

const struct nla_policy ovpn6_key_swap_policy[] = {
	[OVPN6_A_KEYCONF_PEER_ID] = NLA_POLICY_FULL_RANGE(NLA_U32, &up_to_16777215),
};

const struct nla_policy ovpn6_key_del_policy[] = {
	[OVPN6_A_KEYCONF_PEER_ID] = NLA_POLICY_FULL_RANGE(NLA_U32, &up_to_16777215),
	[OVPN6_A_KEYCONF_SLOT] = NLA_POLICY_MAX(NLA_U32, 1),
};

const struct nla_policy ovpn6_prefix_new_policy[] = {
	[OVPN6_A_PREFIX_PEER_ID] = NLA_POLICY_FULL_RANGE(NLA_U32, &up_to_16777215),
	[OVPN6_A_PREFIX_IPV4] = { .type = NLA_BE32 },
	[OVPN6_A_PREFIX_IPV6] = NLA_POLICY_EXACT_LEN(16),
	[OVPN6_A_PREFIX_LENGTH] = NLA_POLICY_MAX(NLA_U32, 128),
};

const struct nla_policy ovpn6_prefix_del_policy[] = {
	[OVPN6_A_PREFIX_PEER_ID] = NLA_POLICY_FULL_RANGE(NLA_U32, &up_to_16777215),
	[OVPN6_A_PREFIX_IPV4] = { .type = NLA_BE32 },
	[OVPN6_A_PREFIX_IPV6] = NLA_POLICY_EXACT_LEN(16),
	[OVPN6_A_PREFIX_LENGTH] = NLA_POLICY_MAX(NLA_U32, 128),
};

const struct nla_policy ovpn6_peer_new_request[OVPN6_A_PEER + 1] = {
	[OVPN6_A_IFINDEX] = { .type = NLA_U32 },
	[OVPN6_A_PEER] = NLA_POLICY_NESTED(ovpn6_peer_new_policy),
};

const struct nla_policy ovpn6_peer_set_request[OVPN6_A_PEER + 1] = {
	[OVPN6_A_IFINDEX] = { .type = NLA_U32 },
	[OVPN6_A_PEER] = NLA_POLICY_NESTED(ovpn6_peer_set_policy),
};

const struct nla_policy ovpn6_peer_get_request[OVPN6_A_PEER + 1] = {
	[OVPN6_A_IFINDEX] = { .type = NLA_U32 },
	[OVPN6_A_PEER] = NLA_POLICY_NESTED(ovpn6_peer_get_policy),
};

const struct nla_policy ovpn6_peer_del_request[OVPN6_A_PEER + 1] = {
	[OVPN6_A_IFINDEX] = { .type = NLA_U32 },
	[OVPN6_A_PEER] = NLA_POLICY_NESTED(ovpn6_peer_del_policy),
};

const struct nla_policy ovpn6_key_new_request[OVPN6_A_KEYCONF + 1] = {
	[OVPN6_A_IFINDEX] = { .type = NLA_U32 },
	[OVPN6_A_KEYCONF] = NLA_POLICY_NESTED(ovpn6_key_new_policy),
};

const struct nla_policy ovpn6_key_get_request[OVPN6_A_KEYCONF + 1] = {
	[OVPN6_A_IFINDEX] = { .type = NLA_U32 },
	[OVPN6_A_KEYCONF] = NLA_POLICY_NESTED(ovpn6_key_get_policy),
};

const struct nla_policy ovpn6_key_swap_request[OVPN6_A_KEYCONF + 1] = {
	[OVPN6_A_IFINDEX] = { .type = NLA_U32 },
	[OVPN6_A_KEYCONF] = NLA_POLICY_NESTED(ovpn6_key_swap_policy),
};

const struct nla_policy ovpn6_key_del_request[OVPN6_A_KEYCONF + 1] = {
	[OVPN6_A_IFINDEX] = { .type = NLA_U32 },
	[OVPN6_A_KEYCONF] = NLA_POLICY_NESTED(ovpn6_key_del_policy),
};

const struct nla_policy ovpn6_prefix_new_request[OVPN6_A_PREFIX + 1] = {
	[OVPN6_A_IFINDEX] = { .type = NLA_U32 },
	[OVPN6_A_PREFIX] = NLA_POLICY_NESTED(ovpn6_prefix_new_policy),
};

const struct nla_policy ovpn6_prefix_del_request[OVPN6_A_PREFIX + 1] = {
	[OVPN6_A_IFINDEX] = { .type = NLA_U32 },
	[OVPN6_A_PREFIX] = NLA_POLICY_NESTED(ovpn6_prefix_del_policy),
};

const struct nla_policy ovpn6_prefix_get_request[OVPN6_A_IFINDEX + 1] = {
	[OVPN6_A_IFINDEX] = { .type = NLA_U32 },
};
