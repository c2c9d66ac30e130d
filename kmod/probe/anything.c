// SPDX-License-Identifier: GPL-2.0-only
/* Compiles everywhere: tells that the others are worth asking. */
#include <linux/netdevice.h>
#include <net/genetlink.h>
