/* SPDX-License-Identifier: GPL-2.0-only */
/* What the pure files need of the kernel: they build in user space too, for tests and fuzzers. */
#ifndef OVPN6_PURE_H
#define OVPN6_PURE_H

#ifdef __KERNEL__
#include <linux/bitops.h>
#include <linux/bits.h>
#include <linux/errno.h>
#include <linux/in6.h>
#include <linux/lockdep.h>
#include <linux/minmax.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/types.h>
#else
#include "../user/shim.h"
#endif

#endif
