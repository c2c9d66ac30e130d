// SPDX-License-Identifier: Apache-2.0
/* Datagrams in a TCP stream, each behind its length. */

#include "stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static void watch_output(struct fp_link *link, bool wanted)
{
	struct epoll_event event = {
		.events = wanted ? EPOLLIN | EPOLLOUT : EPOLLIN,
		.data.u32 = link->id,
	};

	epoll_ctl(link->epoll, EPOLL_CTL_MOD, link->sockets[0], &event);
}

/* Under the lock. */
static void end_locked(struct fp_link *link, enum fp_ending ending, int value)
{
	struct fp_report report = {
		.kind = FP_REPORT_LINK_CLOSED,
		.link = link->id,
		.other = ending,
		.value = value,
	};

	if (link->broken)
		return;
	link->broken = true;
	free(link->waiting);
	link->waiting = NULL;
	link->waiting_size = 0;
	epoll_ctl(link->epoll, EPOLL_CTL_DEL, link->sockets[0], NULL);
	fp_queue_push(link->queue, &report, NULL, 0);
}

void fp_stream_end(struct fp_link *link, enum fp_ending ending, int value)
{
	pthread_mutex_lock(&link->lock);
	end_locked(link, ending, value);
	pthread_mutex_unlock(&link->lock);
}

/* Returns the octets taken, -1 when the connection is over. */
static ssize_t write_some(struct fp_link *link, struct iovec *parts, size_t count,
			  struct fp_counts *counts)
{
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = count };
	ssize_t sent;

	do
		sent = sendmsg(link->sockets[0], &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent >= 0)
		return sent;
	if (errno == EAGAIN)
		return 0;
	fp_error(counts, FP_CALL_SEND, errno, 1);
	end_locked(link, FP_ENDED_SEND, errno);
	return -1;
}

static void queue_rest(struct fp_link *link, const struct iovec *parts, size_t count, size_t skip,
		       size_t total, struct fp_counts *counts)
{
	uint8_t *grown = realloc(link->waiting, link->waiting_size + total - skip);

	if (grown == NULL) {
		/* Half a frame may have been sent: the stream cannot go on. */
		fp_drop(counts, FP_DROP_SEND_TCP_FULL);
		end_locked(link, FP_ENDED_SEND, ENOMEM);
		return;
	}
	if (link->waiting_size == 0)
		watch_output(link, true);
	link->waiting = grown;
	for (size_t i = 0; i < count; i++) {
		size_t length = parts[i].iov_len, skipped = skip < length ? skip : length;

		memcpy(link->waiting + link->waiting_size,
		       (const uint8_t *)parts[i].iov_base + skipped, length - skipped);
		link->waiting_size += length - skipped;
		skip -= skipped;
	}
}

void fp_stream_send(struct fp_link *link, const struct fp_train *train, struct fp_counts *counts)
{
	uint8_t headers[FP_TRAIN_SEGMENTS][FP_FRAME_HEADER];
	struct iovec parts[2 * FP_TRAIN_SEGMENTS];
	size_t count = 0, total = 0;
	ssize_t sent = 0;

	for (size_t at = 0; at < train->length && count < 2 * FP_TRAIN_SEGMENTS;
	     at += train->size) {
		size_t left = train->length - at;
		size_t length = left < train->size ? left : train->size;

		headers[count / 2][0] = (uint8_t)(length >> 8);
		headers[count / 2][1] = (uint8_t)length;
		parts[count] = (struct iovec){ headers[count / 2], FP_FRAME_HEADER };
		parts[count + 1] = (struct iovec){ (void *)(train->octets + at), length };
		count += 2;
		total += FP_FRAME_HEADER + length;
	}
	pthread_mutex_lock(&link->lock);
	if (link->broken) {
		fp_add(&counts->drops[FP_DROP_SEND_CLOSED], train->count);
	} else if (link->waiting_size > FP_STREAM_QUEUE) {
		fp_add(&counts->drops[FP_DROP_SEND_TCP_FULL], train->count);
	} else {
		if (link->waiting_size == 0)
			sent = write_some(link, parts, count, counts);
		if (sent >= 0 && (size_t)sent < total)
			queue_rest(link, parts, count, (size_t)sent, total, counts);
	}
	pthread_mutex_unlock(&link->lock);
}

void fp_stream_writable(struct fp_link *link, struct fp_counts *counts)
{
	struct iovec part;
	ssize_t sent;

	pthread_mutex_lock(&link->lock);
	part = (struct iovec){ link->waiting, link->waiting_size };
	sent = link->broken || link->waiting_size == 0 ? 0 : write_some(link, &part, 1, counts);
	if (sent > 0) {
		link->waiting_size -= (size_t)sent;
		memmove(link->waiting, link->waiting + sent, link->waiting_size);
	}
	if (!link->broken && link->waiting_size == 0) {
		free(link->waiting);
		link->waiting = NULL;
		watch_output(link, false);
	}
	pthread_mutex_unlock(&link->lock);
}

void fp_stream_last_words(struct fp_link *link)
{
	if (link->waiting_size > 0 && !link->broken)
		(void)!send(link->sockets[0], link->waiting, link->waiting_size,
			    MSG_DONTWAIT | MSG_NOSIGNAL);
}

int fp_stream_receive(struct fp_link *link, uint8_t *room, size_t most, size_t *length)
{
	ssize_t received;

	*length = link->partial_size;
	if (link->partial_size > 0)
		memcpy(room, link->partial, link->partial_size);
	received = recv(link->sockets[0], room + *length, most - *length, MSG_DONTWAIT);
	if (received < 0)
		return errno;
	*length += (size_t)received;
	link->partial_size = 0;
	return received == 0 ? -1 : 0;
}

bool fp_stream_keep(struct fp_link *link, const uint8_t *octets, size_t length)
{
	if (link->partial == NULL)
		link->partial = malloc(FP_FRAME_HEADER + (size_t)link->frame_most);
	if (link->partial == NULL || length > FP_FRAME_HEADER + (size_t)link->frame_most)
		return false;
	memcpy(link->partial, octets, length);
	link->partial_size = length;
	return true;
}
