// SPDX-License-Identifier: GPL-2.0-only
/* The replay window: the ring of RFC 6479, and a bound on how late a packet may be. Pure. */

#include "replay.h"

static void clear_between(struct ovpn6_replay *window, u64 from, u64 to)
{
	u64 word = from / 64, last = to / 64, steps;

	steps = min(last - word, (u64)OVPN6_REPLAY_WORDS);
	while (steps--)
		window->seen[++word % OVPN6_REPLAY_WORDS] = 0;
}

static void age(struct ovpn6_replay *window, u64 now, u64 patience)
{
	/* After a pause the mark says nothing of what came in between. */
	if (now - window->highest_time >= patience)
		window->floor = window->highest;
	if (now - window->mark_time < patience)
		return;
	if (window->floor < window->mark_id)
		window->floor = window->mark_id;
	window->mark_id = window->highest;
	window->mark_time = now;
}

/**
 * ovpn6_replay_accept - take the id of an authentic packet
 * @window: of the key that opened it
 * @id: the packet's id; 0 is never valid
 * @now: time in any unit, never falling
 * @patience: an id that was overtaken more recently than this is not refused for its age, one that
 *	was overtaken longer ago than four times this always is
 *
 * Return: 0, or -EINVAL when the id was seen, or is too old to tell. Nothing changes then.
 */
int ovpn6_replay_accept(struct ovpn6_replay *window, u64 id, u64 now, u64 patience)
{
	u64 bit = 1ULL << (id % 64);
	u64 *word = &window->seen[id / 64 % OVPN6_REPLAY_WORDS];

	age(window, now, patience);
	if (id > window->highest) {
		clear_between(window, window->highest, id);
		window->highest = id;
		window->highest_time = now;
		*word |= bit;
		return 0;
	}
	if (id <= window->floor || window->highest - id >= OVPN6_REPLAY_WINDOW)
		return -EINVAL;
	if (!id || *word & bit)
		return -EINVAL;
	*word |= bit;
	return 0;
}
