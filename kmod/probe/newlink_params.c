// SPDX-License-Identifier: GPL-2.0-only
/* rtnl_link_ops.newlink takes what it needs in one structure (6.15). */
#include <net/rtnetlink.h>

static int newlink(struct net_device *dev, struct rtnl_newlink_params *params,
		   struct netlink_ext_ack *extack)
{
	return !params->data;
}

struct rtnl_link_ops probe_ops = { .newlink = newlink };
