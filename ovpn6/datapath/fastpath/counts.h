/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was dropped, by reason. One struct a thread: it alone writes, others may read.
 */
#ifndef OVPN6_FASTPATH_COUNTS_H
#define OVPN6_FASTPATH_COUNTS_H

#include <stdatomic.h>
#include <stdint.h>

/* The names are those of the Python reference (ovpn6/datapath/worker.py); see counts.c. */
enum fp_drop {
	FP_DROP_TUNNEL_NOT_IP,
	FP_DROP_TUNNEL_NO_PEER,
	FP_DROP_TUNNEL_MULTICAST,
	FP_DROP_TUNNEL_NO_KEY,
	FP_DROP_TUNNEL_KEY_EXHAUSTED,
	FP_DROP_TUNNEL_OFFLOAD,
	FP_DROP_TUNNEL_TOO_LONG,
	FP_DROP_SEND_CLOSED,
	FP_DROP_SEND_TCP_FULL,
	FP_DROP_PING_KEY_EXHAUSTED,
	FP_DROP_EXIT_KEY_EXHAUSTED,
	FP_DROP_EMPTY,
	FP_DROP_DATA_V1,
	FP_DROP_CONTROL_LONG,
	FP_DROP_CONTROL_QUEUE,
	FP_DROP_OPCODE,
	FP_DROP_UNKNOWN_PEER,
	FP_DROP_NO_KEY,
	FP_DROP_MALFORMED,
	FP_DROP_AUTHENTICATION,
	FP_DROP_REPLAY,
	FP_DROP_UNKNOWN_EPOCH,
	FP_DROP_COMPRESSED,
	FP_DROP_OTHER_ADDRESS,
	FP_DROP_MOVES,
	FP_DROP_FLOAT_CONFLICT,
	FP_DROP_OCC,
	FP_DROP_INNER_NOT_IP,
	FP_DROP_INNER_LENGTH,
	FP_DROP_INNER_SOURCE,
	FP_DROP_INNER_ECN,
	FP_DROP_TUNNEL_CLOSED,
	FP_DROP_TCP_LENGTH,
	FP_DROP_REPORT_QUEUE,
	FP_DROP_TUNNEL_ELSEWHERE,
	FP_DROP_DATA_ELSEWHERE,
	FP_DROPS,
};

/* System calls whose errors are counted by errno. */
enum fp_call {
	FP_CALL_SEND,
	FP_CALL_RECEIVE,
	FP_CALL_TUNNEL_READ,
	FP_CALL_TUNNEL_WRITE,
	FP_CALLS,
};

#define FP_ERRNOS 134

/**
 * struct fp_counts - what one thread did
 * @datagrams: sealed or opened
 */
struct fp_counts {
	_Atomic uint64_t datagrams;
	_Atomic uint64_t drops[FP_DROPS];
	_Atomic uint64_t errors[FP_CALLS][FP_ERRNOS];
};

extern const char *const fp_drop_names[FP_DROPS];
extern const char *const fp_call_names[FP_CALLS];

/* A counter with one writer: cheaper than an atomic addition, and readers never see half of it. */
static inline void fp_add(_Atomic uint64_t *counter, uint64_t number)
{
	uint64_t before = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, before + number, memory_order_relaxed);
}

static inline uint64_t fp_read(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static inline void fp_drop(struct fp_counts *counts, enum fp_drop reason)
{
	fp_add(&counts->drops[reason], 1);
}

/**
 * fp_error() - count packets that a system call refused
 * @error: the errno
 */
static inline void fp_error(struct fp_counts *counts, enum fp_call call, int error,
			    uint64_t number)
{
	fp_add(&counts->errors[call][error > 0 && error < FP_ERRNOS ? error : 0], number);
}

#endif
