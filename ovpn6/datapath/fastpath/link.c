// SPDX-License-Identifier: Apache-2.0
/* What UDP sockets and TCP connections have in common. */

#include "link.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "stream.h"
#include "udp.h"

struct fp_link *fp_link_new(uint32_t id, const int *sockets, uint32_t count,
			    struct fp_queue *queue)
{
	struct fp_link *link = calloc(1, sizeof(*link));

	if (link == NULL)
		return NULL;
	link->id = id;
	memcpy(link->sockets, sockets, count * sizeof(*sockets));
	atomic_init(&link->count, count);
	link->epoll = -1;
	link->queue = queue;
	pthread_mutex_init(&link->lock, NULL);
	return link;
}

void fp_link_free(struct fp_link *link)
{
	if (link->stream)
		fp_stream_last_words(link);
	pthread_mutex_destroy(&link->lock);
	free(link->waiting);
	free(link->partial);
	free(link);
}

int fp_link_watch(struct fp_link *link, uint32_t lane, int epoll)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = link->id };

	if (link->stream)
		link->epoll = epoll;
	return epoll_ctl(epoll, EPOLL_CTL_ADD, link->sockets[lane], &event) == 0 ? 0 : errno;
}

void fp_link_send(struct fp_link *link, uint32_t lane, const struct fp_path *path,
		  const struct fp_train *train, struct fp_counts *counts)
{
	if (link->stream)
		fp_stream_send(link, train, counts);
	else
		fp_udp_send(link, lane, path, train, counts);
}

size_t fp_address_size(const struct fp_link *link)
{
	return link->family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}
