// SPDX-License-Identifier: Apache-2.0
/* A sliding window of packet ids: a ring of bits, cleared by the word as the window reaches it. */

#include "replay.h"

#include <stdlib.h>
#include <string.h>

bool fp_replay_init(struct fp_replay *replay, uint32_t size, uint32_t milliseconds)
{
	uint64_t words = 2;

	if (size > FP_REPLAY_MOST)
		size = FP_REPLAY_MOST;
	memset(replay, 0, sizeof(*replay));
	while ((words - 1) * 64 < size)
		words *= 2;
	replay->bits = calloc(words, sizeof(*replay->bits));
	replay->mask = words - 1;
	replay->size = size;
	replay->milliseconds = milliseconds;
	return replay->bits != NULL;
}

void fp_replay_free(struct fp_replay *replay)
{
	free(replay->bits);
	replay->bits = NULL;
}

static void advance(struct fp_replay *replay, uint64_t highest, uint64_t id)
{
	uint64_t words = (id >> 6) - (highest >> 6);

	if (words > replay->mask)
		words = replay->mask + 1;
	for (uint64_t i = 1; i <= words; i++)
		replay->bits[((highest >> 6) + i) & replay->mask] = 0;
	atomic_store_explicit(&replay->highest, id, memory_order_relaxed);
}

bool fp_replay_accept(struct fp_replay *replay, uint64_t id)
{
	uint64_t highest = atomic_load_explicit(&replay->highest, memory_order_relaxed);
	uint64_t *word = &replay->bits[(id >> 6) & replay->mask];
	uint64_t bit = 1ull << (id & 63);

	if (id == 0)
		return false;
	if (replay->size == 0) {
		if (highest != 0 && id != highest + 1)
			return false;
		atomic_store_explicit(&replay->highest, id, memory_order_relaxed);
		return true;
	}
	if (id > highest) {
		advance(replay, highest, id);
	} else {
		if (highest - id >= replay->size || id <= replay->floor || *word & bit)
			return false;
	}
	*word |= bit;
	return true;
}

void fp_replay_tick(struct fp_replay *replay, int64_t now)
{
	uint64_t highest = atomic_load_explicit(&replay->highest, memory_order_relaxed);
	struct fp_replay_mark *marks = replay->marks;
	/* So few marks that they always fit: FP_REPLAY_MARKS spans the time bound and more. */
	int64_t apart = replay->milliseconds / (FP_REPLAY_MARKS - 4);
	unsigned int over = 0;

	if (replay->milliseconds == 0)
		return;
	while (over < replay->marked && marks[over].time + replay->milliseconds < now)
		replay->floor = marks[over++].highest;
	replay->marked -= over;
	memmove(marks, marks + over, replay->marked * sizeof(*marks));
	if (replay->marked == FP_REPLAY_MARKS)
		return;
	if (replay->marked > 0 && (marks[replay->marked - 1].highest == highest ||
				   now - marks[replay->marked - 1].time < apart))
		return;
	marks[replay->marked].time = now;
	marks[replay->marked].highest = highest;
	replay->marked++;
}
