// SPDX-License-Identifier: GPL-2.0-only
/* That a device needs no lock to transmit is a bit of its own (6.12), not a feature. */
#include <linux/netdevice.h>

void probe(struct net_device *dev);
void probe(struct net_device *dev)
{
	dev->lltx = true;
}
