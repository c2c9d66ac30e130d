// SPDX-License-Identifier: Apache-2.0
/* A ring of octets; a record may go over its end. */

#include "queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

_Static_assert((FP_QUEUE_OCTETS & (FP_QUEUE_OCTETS - 1)) == 0, "positions are taken by a mask");

int fp_queue_init(struct fp_queue *queue)
{
	memset(queue, 0, sizeof(*queue));
	queue->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (queue->event < 0)
		return errno;
	queue->octets = malloc(FP_QUEUE_OCTETS);
	if (queue->octets == NULL) {
		close(queue->event);
		return ENOMEM;
	}
	pthread_mutex_init(&queue->lock, NULL);
	return 0;
}

void fp_queue_free(struct fp_queue *queue)
{
	close(queue->event);
	free(queue->octets);
	pthread_mutex_destroy(&queue->lock);
}

static void put(struct fp_queue *queue, const void *data, size_t length)
{
	size_t at = queue->head & (FP_QUEUE_OCTETS - 1), first = FP_QUEUE_OCTETS - at;

	if (first > length)
		first = length;
	memcpy(queue->octets + at, data, first);
	memcpy(queue->octets, (const uint8_t *)data + first, length - first);
	queue->head += length;
}

static void take(struct fp_queue *queue, void *data, size_t length)
{
	size_t at = queue->tail & (FP_QUEUE_OCTETS - 1), first = FP_QUEUE_OCTETS - at;

	if (first > length)
		first = length;
	memcpy(data, queue->octets + at, first);
	memcpy((uint8_t *)data + first, queue->octets, length - first);
	queue->tail += length;
}

bool fp_queue_push(struct fp_queue *queue, struct fp_report *report, const void *data,
		   size_t length)
{
	const uint64_t one = 1;
	uint64_t most = report->kind == FP_REPORT_CONTROL ? FP_QUEUE_CONTROL : FP_QUEUE_OCTETS;
	bool done, empty;

	report->size = (uint32_t)length;
	pthread_mutex_lock(&queue->lock);
	empty = queue->head == queue->tail;
	done = queue->head - queue->tail + sizeof(*report) + length <= most;
	if (done) {
		put(queue, report, sizeof(*report));
		if (length > 0)
			put(queue, data, length);
	}
	pthread_mutex_unlock(&queue->lock);
	/* One wake-up for each time that the queue was found empty. */
	if (done && empty && write(queue->event, &one, sizeof(one)) < 0)
		return true;
	return done;
}

ptrdiff_t fp_queue_pop(struct fp_queue *queue, struct fp_report *report, uint8_t *room,
		       size_t most)
{
	ptrdiff_t length = -1;
	uint64_t woken;

	pthread_mutex_lock(&queue->lock);
	if (queue->head != queue->tail) {
		take(queue, report, sizeof(*report));
		length = report->size;
		if (report->size > most)
			length = (ptrdiff_t)most;
		take(queue, room, (size_t)length);
		queue->tail += report->size - (size_t)length;
	} else if (read(queue->event, &woken, sizeof(woken)) < 0) {
		woken = 0;
	}
	pthread_mutex_unlock(&queue->lock);
	return length;
}
