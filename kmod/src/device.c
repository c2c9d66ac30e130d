// SPDX-License-Identifier: GPL-2.0-only
/* The network device and its link kinds. */

#include "device.h"

#include <linux/ethtool.h>
#include <linux/if_arp.h>
#include <linux/inetdevice.h>
#include <linux/random.h>
#include <net/ip_tunnels.h>

#include "compat.h"
#include "packet.h"
#include "peer.h"
#include "transmit.h"

/* UDP over IPv6, and what the link below may want. */
#define OVPN6_HEADROOM (OVPN6_OVERHEAD + 40 + 8 + LL_MAX_HEADER)
/* What is left of 1500 bytes below every kind of transport. */
#define OVPN6_MTU_OVERHEAD 84

static int device_init(struct net_device *dev)
{
	struct ovpn6_device *device = netdev_priv(dev);
	int error;

	dev->tstats = netdev_alloc_pcpu_stats(struct pcpu_sw_netstats);
	if (!dev->tstats)
		return -ENOMEM;
	error = gro_cells_init(&device->gro_cells, dev);
	if (error) {
		free_percpu(dev->tstats);
		dev->tstats = NULL;
	}
	return error;
}

static void device_uninit(struct net_device *dev)
{
	struct ovpn6_device *device = netdev_priv(dev);

	mutex_lock(&device->lock);
	device->is_dying = true;
	ovpn6_peers_remove_all(device, OVPN6_DEL_TEARDOWN);
	mutex_unlock(&device->lock);
	gro_cells_destroy(&device->gro_cells);
}

/* Behind the last reference. */
static void device_free(struct net_device *dev)
{
	struct ovpn6_device *device = netdev_priv(dev);

	free_percpu(dev->tstats);
	xa_destroy(&device->peers);
	mutex_destroy(&device->lock);
}

static int device_open(struct net_device *dev)
{
	struct ovpn6_device *device = netdev_priv(dev);
	struct in_device *ipv4 = __in_dev_get_rtnl(dev);

	if (device->mode == OVPN6_MODE_P2P)
		return 0;
	/* Packets between peers come in and go out by the same device, and that is right. */
	if (ipv4)
		IN_DEV_CONF_SET(ipv4, SEND_REDIRECTS, false);
	netif_carrier_on(dev);
	return 0;
}

static const struct net_device_ops device_ops = {
	.ndo_init = device_init,
	.ndo_uninit = device_uninit,
	.ndo_open = device_open,
	.ndo_start_xmit = ovpn6_transmit,
	.ndo_get_stats64 = dev_get_tstats64,
};

static void get_drvinfo(struct net_device *dev, struct ethtool_drvinfo *info)
{
	strscpy(info->driver, KBUILD_MODNAME, sizeof(info->driver));
	strscpy(info->bus_info, dev->rtnl_link_ops->kind, sizeof(info->bus_info));
}

static const struct ethtool_ops ethtool_operations = {
	.get_drvinfo = get_drvinfo,
	.get_link = ethtool_op_get_link,
};

static const struct device_type device_kind = { .name = "ovpn" };

static void device_setup(struct net_device *dev)
{
	netdev_features_t features = NETIF_F_SG | NETIF_F_FRAGLIST | NETIF_F_HIGHDMA |
				     NETIF_F_HW_CSUM | NETIF_F_GSO_SOFTWARE;

	dev->netdev_ops = &device_ops;
	dev->ethtool_ops = &ethtool_operations;
	dev->header_ops = &ip_tunnel_header_ops;
	SET_NETDEV_DEVTYPE(dev, &device_kind);
	dev->type = ARPHRD_NONE;
	dev->flags = IFF_POINTOPOINT | IFF_NOARP;
	dev->priv_flags |= IFF_NO_QUEUE;
	dev->hard_header_len = 0;
	dev->addr_len = 0;
	dev->needed_headroom = ALIGN(OVPN6_HEADROOM, 4);
	dev->mtu = ETH_DATA_LEN - OVPN6_MTU_OVERHEAD;
	dev->min_mtu = IPV4_MIN_MTU;
	dev->max_mtu = IP_MAX_MTU - OVPN6_MTU_OVERHEAD;
	dev->features |= features;
	dev->hw_features |= features;
	dev->hw_enc_features |= features;
	ovpn6_set_lltx(dev);
	/* The peer is found by a packet's gateway. */
	netif_keep_dst(dev);
	dev->needs_free_netdev = true;
	dev->priv_destructor = device_free;
}

static int device_make(struct net_device *dev, struct nlattr *data[],
		       struct netlink_ext_ack *extack)
{
	struct ovpn6_device *device = netdev_priv(dev);

	device->dev = dev;
	device->mode = OVPN6_MODE_P2P;
	if (data && data[OVPN6_LINK_MODE])
		device->mode = nla_get_u8(data[OVPN6_LINK_MODE]);
	mutex_init(&device->lock);
	xa_init_flags(&device->peers, XA_FLAGS_ACCOUNT);
	hash_init(device->places);
	spin_lock_init(&device->places_lock);
	device->place_seed = get_random_u32();
	ovpn6_prefixes_init(&device->prefixes[0], 32, &device->lock);
	ovpn6_prefixes_init(&device->prefixes[1], 128, &device->lock);
	device->network_changes = 1;
	netif_carrier_off(dev);
	return register_netdevice(dev);
}

#ifdef OVPN6_HAVE_newlink_params
static int device_newlink(struct net_device *dev, struct rtnl_newlink_params *params,
			  struct netlink_ext_ack *extack)
{
	return device_make(dev, params->data, extack);
}
#else
static int device_newlink(struct net *net, struct net_device *dev, struct nlattr *tb[],
			  struct nlattr *data[], struct netlink_ext_ack *extack)
{
	return device_make(dev, data, extack);
}
#endif

static size_t device_get_size(const struct net_device *dev)
{
	return nla_total_size(sizeof(u8));
}

static int device_fill_info(struct sk_buff *skb, const struct net_device *dev)
{
	struct ovpn6_device *device = netdev_priv(dev);

	return nla_put_u8(skb, OVPN6_LINK_MODE, device->mode);
}

static const struct nla_policy link_policy[OVPN6_LINK_MAX + 1] = {
	[OVPN6_LINK_MODE] = NLA_POLICY_MAX(NLA_U8, OVPN6_MODE_MP),
};

/**
 * ovpn6_device_fill_kind - what a link kind is, before it is registered
 * @link: to be filled
 * @kind: its name
 */
void ovpn6_device_fill_kind(struct rtnl_link_ops *link, const char *kind)
{
	link->kind = kind;
	link->priv_size = sizeof(struct ovpn6_device);
	link->setup = device_setup;
	link->maxtype = OVPN6_LINK_MAX;
	link->policy = link_policy;
	link->newlink = device_newlink;
	link->get_size = device_get_size;
	link->fill_info = device_fill_info;
}

/**
 * ovpn6_device_is_ours - was this device made by this module?
 * @dev: any network device
 */
bool ovpn6_device_is_ours(const struct net_device *dev)
{
	return dev->netdev_ops == &device_ops;
}
