/* SPDX-License-Identifier: GPL-2.0-only */
/* One way to say what kernels from 6.1 on say differently. OVPN6_HAVE_* come from ../probe. */
#ifndef OVPN6_COMPAT_H
#define OVPN6_COMPAT_H

#include <crypto/aead.h>
#include <linux/netdevice.h>
#include <linux/netlink.h>
#include <linux/skbuff.h>
#include <net/genetlink.h>
#include <net/rtnetlink.h>
#include <net/udp_tunnel.h>
#ifdef OVPN6_HAVE_gso_header
#include <net/gso.h>
#endif

/* Kernels before 6.2 have no room for numbers in what they tell. */
#ifdef NL_SET_ERR_MSG_FMT
#define OVPN6_SAY(extack, plain, format, ...) NL_SET_ERR_MSG_FMT(extack, format, ##__VA_ARGS__)
#else
#define OVPN6_SAY(extack, plain, format, ...) NL_SET_ERR_MSG(extack, plain)
#endif

static inline void ovpn6_set_lltx(struct net_device *dev)
{
#ifdef OVPN6_HAVE_lltx_bit
	dev->lltx = true;
#else
	dev->features |= NETIF_F_LLTX;
#endif
}

static inline struct nlattr **ovpn6_dump_attributes(struct netlink_callback *cb)
{
#ifdef OVPN6_HAVE_genl_dump_info
	return genl_info_dump(cb)->attrs;
#else
	return genl_dumpit_info(cb)->attrs;
#endif
}

static inline void ovpn6_setup_udp(struct sock *sk, struct udp_tunnel_sock_cfg *setup)
{
#ifdef OVPN6_HAVE_udp_sock_is_sk
	setup_udp_tunnel_sock(sock_net(sk), sk, setup);
#else
	/* All it looks at; the true one may be gone while the socket is closed. */
	struct socket stand_in = { .sk = sk };

	setup_udp_tunnel_sock(sock_net(sk), &stand_in, setup);
#endif
}

#ifdef OVPN6_HAVE_udp_xmit_flags
#define OVPN6_NO_FLAGS , 0
#else
#define OVPN6_NO_FLAGS
#endif

#ifdef OVPN6_HAVE_crypto_data
#define OVPN6_COMPLETION(name) static void name(void *ovpn6_completed, int error)
#define OVPN6_COMPLETED ovpn6_completed
#else
#define OVPN6_COMPLETION(name) \
	static void name(struct crypto_async_request *ovpn6_completed, int error)
#define OVPN6_COMPLETED (ovpn6_completed->data)
#endif

#endif
