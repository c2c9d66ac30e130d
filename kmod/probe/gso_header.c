// SPDX-License-Identifier: GPL-2.0-only
/* Segmentation has a header of its own (6.4.10). */
#include <linux/netdevice.h>
#include <net/gso.h>
