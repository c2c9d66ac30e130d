/* SPDX-License-Identifier: GPL-2.0-only */
/* Which packet ids of one key were seen. Pure. */
#ifndef OVPN6_REPLAY_H
#define OVPN6_REPLAY_H

#include "pure.h"

/* How far an id may lag behind the highest one. */
#define OVPN6_REPLAY_WINDOW 2048
/* Bits of the ring: a power of two, and more than the window by at least a word. */
#define OVPN6_REPLAY_BITS 4096
#define OVPN6_REPLAY_WORDS (OVPN6_REPLAY_BITS / 64)

/**
 * struct ovpn6_replay - a window over packet ids, and how old its lower part is
 * @highest: the highest id so far, 0 before the first
 * @highest_time: when it came, in the caller's unit of time
 * @floor: ids up to this one were overtaken too long ago
 * @mark_id: @highest as it was at @mark_time
 * @mark_time: when the mark was set
 * @seen: ring of bits, by id modulo its size
 *
 * All zero is a fresh window. The caller serialises.
 */
struct ovpn6_replay {
	u64 highest;
	u64 highest_time;
	u64 floor;
	u64 mark_id;
	u64 mark_time;
	u64 seen[OVPN6_REPLAY_WORDS];
};

int ovpn6_replay_accept(struct ovpn6_replay *window, u64 id, u64 now, u64 patience);

#endif
