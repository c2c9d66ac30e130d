// SPDX-License-Identifier: Apache-2.0
/* Threads begin and end here, and what Python changes becomes visible to them. */

#include "worker.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "both.h"
#include "rx.h"
#include "tx.h"

#define THREADS 2

static void wake(int descriptor)
{
	const uint64_t one = 1;

	(void)!write(descriptor, &one, sizeof(one));
}

static int open_descriptors(struct fp_lane *lane)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = FP_NO_LINK };
	struct epoll_event event_tx = { .events = EPOLLIN, .data.u32 = FP_WAKE_TX_EVENT };

	lane->wake_rx = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	lane->wake_tx = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	lane->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (lane->wake_rx < 0 || lane->wake_tx < 0 || lane->epoll < 0 ||
	    epoll_ctl(lane->epoll, EPOLL_CTL_ADD, lane->wake_rx, &event) != 0 ||
	    (lane->worker->single &&
	     epoll_ctl(lane->epoll, EPOLL_CTL_ADD, lane->wake_tx, &event_tx) != 0))
		return errno;
	return 0;
}

/* Signals are for Python's own thread. */
static int start_threads(struct fp_lane *lane)
{
	void *(*const runs[THREADS])(void *) = { fp_tx_run, fp_rx_run };
	void *const arguments[THREADS] = { lane->tx, lane->rx };
	bool single = lane->worker->single;
	sigset_t all, before;
	int error = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (error == 0 && lane->started < (single ? 1 : THREADS)) {
		unsigned int i = lane->started;

		error = single ? pthread_create(&lane->threads[i], NULL, fp_both_run, lane) :
				 pthread_create(&lane->threads[i], NULL, runs[i], arguments[i]);
		if (error == 0)
			lane->started++;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error;
}

static void begin_lane(struct fp_worker *worker, uint32_t index)
{
	struct fp_lane *lane = &worker->lanes[index];

	lane->worker = worker;
	lane->index = index;
	lane->epoll = lane->wake_rx = lane->wake_tx = -1;
	pthread_mutex_init(&lane->request_lock, NULL);
	pthread_cond_init(&lane->request_done, NULL);
}

static int set_up_lane(struct fp_lane *lane)
{
	int error = open_descriptors(lane);

	if (error != 0)
		return error;
	lane->tx = fp_tx_new(lane);
	lane->rx = fp_rx_new(lane);
	if (lane->tx == NULL || lane->rx == NULL)
		return ENOMEM;
	return start_threads(lane);
}

static void end_lane(struct fp_lane *lane)
{
	const int descriptors[] = { lane->epoll, lane->wake_rx, lane->wake_tx };

	if (lane->tx != NULL)
		fp_tx_free(lane->tx);
	if (lane->rx != NULL)
		fp_rx_free(lane->rx);
	for (unsigned int i = 0; i < 3; i++) {
		if (descriptors[i] >= 0)
			close(descriptors[i]);
	}
	pthread_mutex_destroy(&lane->request_lock);
	pthread_cond_destroy(&lane->request_done);
}

/* A queue for each lane, all of them none. */
static struct fp_tunnel *new_tunnels(const struct fp_worker *worker)
{
	struct fp_tunnel *tunnels = calloc(worker->count, sizeof(*tunnels));

	for (uint32_t i = 0; tunnels != NULL && i < worker->count; i++)
		tunnels[i].descriptor = -1;
	return tunnels;
}

static int set_up(struct fp_worker *worker)
{
	struct fp_tunnel *none = new_tunnels(worker);
	int error = 0;

	if (none == NULL)
		return ENOMEM;
	atomic_store(&worker->tunnels, none);
	for (uint32_t i = 0; error == 0 && i < worker->count; i++)
		error = set_up_lane(&worker->lanes[i]);
	return error;
}

struct fp_worker *fp_worker_new(const struct fp_worker_settings *settings, int *error)
{
	struct fp_worker *worker = calloc(1, sizeof(*worker));

	*error = ENOMEM;
	if (worker == NULL)
		return NULL;
	*error = fp_queue_init(&worker->queue);
	if (*error != 0) {
		free(worker);
		return NULL;
	}
	worker->window = settings->window;
	worker->window_milliseconds = settings->window_milliseconds;
	worker->copy_dscp = settings->copy_dscp;
	worker->single = settings->single;
	worker->label_flows = settings->flow_secret != NULL;
	if (worker->label_flows)
		memcpy(worker->flow_secret, settings->flow_secret, OVPN6_FLOW_SECRET);
	worker->steering.map = worker->steering.program = -1;
	worker->count = settings->lanes;
	for (uint32_t i = 0; i < worker->count; i++)
		begin_lane(worker, i);
	fp_peers_init(&worker->peers, worker->count);
	fp_map_init(&worker->links, offsetof(struct fp_link, id), sizeof(uint32_t));
	*error = set_up(worker);
	if (*error == 0)
		return worker;
	fp_worker_free(worker);
	return NULL;
}

void fp_worker_free(struct fp_worker *worker)
{
	struct fp_link *link;
	size_t position = 0;

	atomic_store(&worker->stop, true);
	for (uint32_t i = 0; i < worker->count; i++) {
		wake(worker->lanes[i].wake_rx);
		wake(worker->lanes[i].wake_tx);
	}
	for (uint32_t i = 0; i < worker->count; i++) {
		for (unsigned int j = 0; j < worker->lanes[i].started; j++)
			pthread_join(worker->lanes[i].threads[j], NULL);
	}
	fp_peers_free(&worker->peers);
	while ((link = fp_map_next(&worker->links, &position)) != NULL)
		fp_link_free(link);
	fp_map_free(&worker->links);
	for (uint32_t i = 0; i < worker->count; i++)
		end_lane(&worker->lanes[i]);
	free(atomic_load(&worker->tunnels));
	fp_steering_close(&worker->steering);
	fp_queue_free(&worker->queue);
	free(worker);
}

/* The sending thread answers between two batches, within milliseconds. */
static void ask(struct fp_lane *lane, enum fp_request_kind kind, uint32_t peer,
		const struct fp_tunnel *tunnel)
{
	pthread_mutex_lock(&lane->request_lock);
	lane->request = kind;
	lane->request_peer = peer;
	lane->request_tunnel = tunnel;
	wake(lane->wake_tx);
	while (lane->request != FP_REQUEST_NONE)
		pthread_cond_wait(&lane->request_done, &lane->request_lock);
	pthread_mutex_unlock(&lane->request_lock);
}

int fp_worker_set_tunnel(struct fp_worker *worker, const struct fp_tunnel *tunnels, uint32_t count)
{
	struct fp_tunnel *copy = new_tunnels(worker), *before;

	if (copy == NULL)
		return ENOMEM;
	memcpy(copy, tunnels, count * sizeof(*copy));
	before = atomic_exchange(&worker->tunnels, copy);
	atomic_store(&worker->tunnel_lost, count == 0);
	for (uint32_t i = 0; i < worker->count; i++)
		ask(&worker->lanes[i], FP_REQUEST_TUNNEL, 0, copy + i);
	fp_grace_wait(&worker->peers.grace);
	free(before);
	return 0;
}

/* Each lane lets go of the others' sockets and of its peers, before the first one takes them. */
static void let_go(struct fp_worker *worker)
{
	struct fp_peer *peer;
	struct fp_link *link;
	size_t position = 0;

	while ((peer = fp_map_next(&worker->peers.by_id, &position)) != NULL) {
		if (atomic_load(&peer->sender) != 0)
			atomic_store(&peer->sender, FP_NO_LANE);
		if (atomic_load(&peer->receiver) != 0)
			atomic_store(&peer->receiver, FP_NO_LANE);
	}
	position = 0;
	while ((link = fp_map_next(&worker->links, &position)) != NULL) {
		uint32_t count = atomic_exchange(&link->count, 1);

		for (uint32_t i = 1; i < count; i++)
			epoll_ctl(worker->lanes[i].epoll, EPOLL_CTL_DEL, link->sockets[i], NULL);
	}
}

void fp_worker_gather(struct fp_worker *worker)
{
	struct fp_peers *peers = &worker->peers;
	struct fp_peer *peer;
	size_t position = 0;

	pthread_mutex_lock(&peers->lock);
	peers->lanes = 1;
	let_go(worker);
	pthread_mutex_unlock(&peers->lock);
	fp_grace_wait(&peers->grace);
	while ((peer = fp_map_next(&peers->by_id, &position)) != NULL) {
		atomic_store(&peer->sender, 0);
		atomic_store(&peer->receiver, 0);
	}
	fp_steering_close(&worker->steering);
}

static void stop_watching(struct fp_worker *worker, const struct fp_link *link)
{
	for (uint32_t i = 0; i < atomic_load(&link->count); i++)
		epoll_ctl(worker->lanes[i].epoll, EPOLL_CTL_DEL, link->sockets[i], NULL);
}

int fp_worker_add_link(struct fp_worker *worker, struct fp_link *link)
{
	struct fp_peers *peers = &worker->peers;
	void *replaced;
	bool done;
	int error;

	pthread_mutex_lock(&peers->lock);
	done = fp_map_put(&worker->links, &peers->grace, link, &replaced);
	pthread_mutex_unlock(&peers->lock);
	if (!done)
		return ENOMEM;
	error = 0;
	for (uint32_t i = 0; error == 0 && i < atomic_load(&link->count); i++)
		error = fp_link_watch(link, i, worker->lanes[i].epoll);
	if (error == 0)
		return 0;
	stop_watching(worker, link);
	pthread_mutex_lock(&peers->lock);
	fp_map_remove(&worker->links, link);
	pthread_mutex_unlock(&peers->lock);
	fp_grace_wait(&peers->grace);
	return error;
}

void fp_worker_remove_link(struct fp_worker *worker, struct fp_link *link)
{
	struct fp_peers *peers = &worker->peers;

	stop_watching(worker, link);
	pthread_mutex_lock(&peers->lock);
	link->gone = true;
	fp_map_remove(&worker->links, link);
	fp_peers_unlink(peers, link);
	fp_grace_reap(&peers->grace);
	pthread_mutex_unlock(&peers->lock);
	fp_grace_wait(&peers->grace);
	fp_link_free(link);
}

/* A connection is read by the first lane, whoever is at its other end. */
bool fp_worker_place(struct fp_worker *worker, struct fp_peer *peer, struct fp_link *link,
		     const struct fp_path_key *key, const uint8_t *local, uint32_t local_size)
{
	struct fp_peers *peers = &worker->peers;
	uint32_t receiver = link->stream ? 0 : peer->id % peers->lanes;
	bool done;

	if (atomic_load(&peer->receiver) != receiver) {
		atomic_store(&peer->receiver, FP_NO_LANE);
		fp_grace_wait(&peers->grace);
		atomic_store(&peer->receiver, receiver);
	}
	pthread_mutex_lock(&peers->lock);
	done = fp_peer_place(peers, peer, link, key, local, local_size);
	pthread_mutex_unlock(&peers->lock);
	return done;
}

void fp_worker_remove_peer(struct fp_worker *worker, struct fp_peer *peer,
			   void (*last)(const struct fp_peer *peer, void *context), void *context)
{
	struct fp_peers *peers = &worker->peers;

	pthread_mutex_lock(&peers->lock);
	fp_peer_unpublish(peers, peer);
	pthread_mutex_unlock(&peers->lock);
	fp_grace_wait(&peers->grace);
	last(peer, context);
	fp_peer_free(peer);
	pthread_mutex_lock(&peers->lock);
	fp_grace_reap(&peers->grace);
	pthread_mutex_unlock(&peers->lock);
}

void fp_worker_install(struct fp_worker *worker, struct fp_peer *peer, unsigned int slot,
		       struct fp_key *key)
{
	struct fp_peers *peers = &worker->peers;
	struct fp_key *before;

	pthread_mutex_lock(&peers->lock);
	before = fp_peer_install(peer, slot, key);
	fp_grace_reap(&peers->grace);
	pthread_mutex_unlock(&peers->lock);
	if (key != NULL && atomic_load(&peer->live_since) == 0)
		atomic_store(&peer->live_since, fp_now());
	if (before == NULL)
		return;
	fp_grace_wait(&peers->grace);
	fp_key_free(before);
}

void fp_worker_send_exit(struct fp_worker *worker, const struct fp_peer *peer)
{
	ask(&worker->lanes[atomic_load(&peer->sender)], FP_REQUEST_EXIT, peer->id, NULL);
}

void fp_worker_tunnel_lost(struct fp_worker *worker, int error)
{
	struct fp_report report = { .kind = FP_REPORT_TUNNEL_LOST, .value = error };

	if (!atomic_exchange(&worker->tunnel_lost, true))
		fp_queue_push(&worker->queue, &report, NULL, 0);
}

void fp_lane_name(const struct fp_lane *lane, const char *part)
{
	char name[16];

	if (lane->worker->count == 1)
		snprintf(name, sizeof(name), "ovpn6 %s", part);
	else
		snprintf(name, sizeof(name), "ovpn6 %s %u", part, (unsigned int)lane->index);
	prctl(PR_SET_NAME, name);
}

unsigned int fp_worker_writers(const struct fp_worker *worker)
{
	return 2 * worker->count + 1;
}

const struct fp_counts *fp_worker_counts(const struct fp_worker *worker, unsigned int writer)
{
	const struct fp_lane *lane = &worker->lanes[writer / 2];

	if (writer == 2 * worker->count)
		return &worker->control_counts;
	return writer % 2 == 0 ? fp_tx_counts(lane->tx) : fp_rx_counts(lane->rx);
}

int64_t fp_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool fp_is_gone(int error)
{
	return error == EBADFD || error == ENODEV || error == EBADF || error == ENXIO;
}
