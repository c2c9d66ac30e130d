/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When nobody looks at an old version any more (read-copy-update by quiescent states).
 *
 * A reader is a thread that follows published pointers while it is online. Who replaces such a
 * pointer may free the old object once every reader was offline, or passed a quiescent state,
 * after the replacement.
 */
#ifndef OVPN6_FASTPATH_GRACE_H
#define OVPN6_FASTPATH_GRACE_H

#include <stdatomic.h>
#include <stdint.h>

/* Two for each lane (worker.h). */
#define FP_READERS 32

struct fp_retired;

/**
 * struct fp_reader - a reader, on lines of the cache that no other writes
 * @seen: the epoch that it saw last; 0 is offline
 */
struct fp_reader {
	_Atomic uint64_t seen;
	uint8_t apart[120];
};

/**
 * struct fp_grace - the readers and what waits for them
 * @epoch: counts calls of fp_grace_advance(), from 1
 * @readers: all there may be; those without a thread are offline
 * @retired: what is to be freed, newest first; under the lock of whoever calls fp_grace_retire()
 */
struct fp_grace {
	_Atomic uint64_t epoch;
	struct fp_reader readers[FP_READERS];
	struct fp_retired *retired;
};

/**
 * fp_grace_init() - all readers are offline
 */
void fp_grace_init(struct fp_grace *grace);

/* Sequentially consistent: a reader that a writer saw offline sees what that writer published. */
static inline void fp_grace_online(struct fp_grace *grace, unsigned int reader)
{
	atomic_store(&grace->readers[reader].seen, atomic_load(&grace->epoch));
}

static inline void fp_grace_quiescent(struct fp_grace *grace, unsigned int reader)
{
	uint64_t epoch = atomic_load_explicit(&grace->epoch, memory_order_relaxed);

	if (epoch != atomic_load_explicit(&grace->readers[reader].seen, memory_order_relaxed))
		fp_grace_online(grace, reader);
}

static inline void fp_grace_offline(struct fp_grace *grace, unsigned int reader)
{
	atomic_store_explicit(&grace->readers[reader].seen, 0, memory_order_release);
}

/**
 * fp_grace_wait() - until no reader has anything that was unpublished before the call
 *
 * Not from a reader, and not with a lock that a reader takes.
 */
void fp_grace_wait(struct fp_grace *grace);

/**
 * fp_grace_retire() - free something unpublished when no reader has it
 * @object: freed by free(); NULL is nothing
 *
 * Under the lock that serialises changes; readers may call it too.
 */
void fp_grace_retire(struct fp_grace *grace, void *object);

/**
 * fp_grace_reap() - free what no reader has any more
 *
 * Under the same lock.
 */
void fp_grace_reap(struct fp_grace *grace);

#endif
