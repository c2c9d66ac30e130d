// SPDX-License-Identifier: Apache-2.0
/* Grace periods by counting epochs; waits are short, so they poll. */

#include "grace.h"

#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#define POLL_NANOSECONDS 20000

struct fp_retired {
	struct fp_retired *next;
	void *object;
	uint64_t epoch;
};

void fp_grace_init(struct fp_grace *grace)
{
	atomic_init(&grace->epoch, 1);
	for (unsigned int i = 0; i < FP_READERS; i++)
		atomic_init(&grace->readers[i].seen, 0);
	grace->retired = NULL;
}

static uint64_t advance(struct fp_grace *grace)
{
	return atomic_fetch_add(&grace->epoch, 1) + 1;
}

static bool passed(struct fp_grace *grace, uint64_t epoch)
{
	for (unsigned int i = 0; i < FP_READERS; i++) {
		uint64_t seen = atomic_load(&grace->readers[i].seen);

		if (seen != 0 && seen < epoch)
			return false;
	}
	return true;
}

void fp_grace_wait(struct fp_grace *grace)
{
	const struct timespec pause = { .tv_nsec = POLL_NANOSECONDS };
	uint64_t epoch = advance(grace);

	while (!passed(grace, epoch))
		nanosleep(&pause, NULL);
}

void fp_grace_retire(struct fp_grace *grace, void *object)
{
	struct fp_retired *entry;

	if (object == NULL)
		return;
	entry = malloc(sizeof(*entry));
	/* Without memory for the note the object is lost, which is better than freed too early. */
	if (entry == NULL)
		return;
	entry->object = object;
	entry->epoch = advance(grace);
	entry->next = grace->retired;
	grace->retired = entry;
}

void fp_grace_reap(struct fp_grace *grace)
{
	struct fp_retired **link = &grace->retired;

	while (*link != NULL) {
		struct fp_retired *entry = *link;

		if (!passed(grace, entry->epoch)) {
			link = &entry->next;
			continue;
		}
		*link = entry->next;
		free(entry->object);
		free(entry);
	}
}
