/* SPDX-License-Identifier: GPL-2.0-only */
/* The few words of the kernel that the pure files use, for user space. One thread only. */
#ifndef OVPN6_SHIM_H
#define OVPN6_SHIM_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define __rcu
#define GFP_KERNEL_ACCOUNT 0
#define BITS_PER_LONG 64
#define min(a, b) ((a) < (b) ? (a) : (b))
#define READ_ONCE(x) (x)
#define WRITE_ONCE(x, value) ((x) = (value))
#define rcu_dereference_check(p, condition) ((void)(condition), (p))
#define rcu_dereference_protected(p, condition) ((void)(condition), (p))
#define rcu_assign_pointer(p, value) ((p) = (value))
#define RCU_INIT_POINTER(p, value) ((p) = (value))
#define lockdep_is_held(lock) ((void)(lock), 1)
#define kzalloc(size, flags) calloc(1, size)
#define kfree(p) free(p)
#define kfree_rcu(p, member) free(p)

struct rcu_head {
	int unused;
};

struct mutex {
	int unused;
};

#endif
