/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which packet ids of one key were seen. The reference is ReplayWindow in
 * ovpn6/protocol/data_channel.py.
 */
#ifndef OVPN6_FASTPATH_REPLAY_H
#define OVPN6_FASTPATH_REPLAY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define FP_REPLAY_MARKS 12
#define FP_REPLAY_MOST 65536

struct fp_replay_mark {
	int64_t time;
	uint64_t highest;
};

/**
 * struct fp_replay - the window
 * @highest: the highest id accepted; others may read it
 * @floor: ids up to here are over
 * @size: how far an id may lag behind @highest; 0 takes only the next
 * @milliseconds: how long ago an id may have been overtaken; 0 sets no bound
 * @mask: of words in @bits, a ring that is longer than @size by a word or more
 * @bits: set for each id that was seen
 * @marks: (time, highest) of ticks, oldest first
 */
struct fp_replay {
	_Atomic uint64_t highest;
	uint64_t floor;
	uint32_t size;
	uint32_t milliseconds;
	uint64_t mask;
	uint64_t *bits;
	unsigned int marked;
	struct fp_replay_mark marks[FP_REPLAY_MARKS];
};

/**
 * fp_replay_init() - nothing was seen
 * @size: at most FP_REPLAY_MOST
 *
 * Return: false without memory.
 */
bool fp_replay_init(struct fp_replay *replay, uint32_t size, uint32_t milliseconds);

/**
 * fp_replay_free() - give its memory back
 */
void fp_replay_free(struct fp_replay *replay);

/**
 * fp_replay_accept() - take an authentic packet's id
 *
 * Return: false when it was seen, or is too old to tell; nothing changes then.
 */
bool fp_replay_accept(struct fp_replay *replay, uint64_t id);

/**
 * fp_replay_tick() - ids that were overtaken too long ago are over
 * @now: milliseconds
 *
 * About once a second, by the thread that calls fp_replay_accept().
 */
void fp_replay_tick(struct fp_replay *replay, int64_t now);

#endif
