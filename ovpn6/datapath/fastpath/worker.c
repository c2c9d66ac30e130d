// SPDX-License-Identifier: Apache-2.0
/* Threads begin and end here, and what Python changes becomes visible to them. */

#include "worker.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
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

static int open_descriptors(struct fp_worker *worker)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = FP_NO_LINK };
	struct epoll_event event_tx = { .events = EPOLLIN, .data.u32 = FP_WAKE_TX_EVENT };

	worker->wake_rx = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	worker->wake_tx = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	worker->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (worker->wake_rx < 0 || worker->wake_tx < 0 || worker->epoll < 0 ||
	    epoll_ctl(worker->epoll, EPOLL_CTL_ADD, worker->wake_rx, &event) != 0 ||
	    (worker->single &&
	     epoll_ctl(worker->epoll, EPOLL_CTL_ADD, worker->wake_tx, &event_tx) != 0))
		return errno;
	return 0;
}

/* Signals are for Python's own thread. */
static int start_threads(struct fp_worker *worker)
{
	void *(*const runs[THREADS])(void *) = { fp_tx_run, fp_rx_run };
	void *const arguments[THREADS] = { worker->tx, worker->rx };
	unsigned int wanted = worker->single ? 1 : THREADS;
	sigset_t all, before;
	int error = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (error == 0 && worker->started < wanted) {
		unsigned int i = worker->started;

		error = worker->single ?
				pthread_create(&worker->threads[i], NULL, fp_both_run, worker) :
				pthread_create(&worker->threads[i], NULL, runs[i], arguments[i]);
		if (error == 0)
			worker->started++;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error;
}

static int set_up(struct fp_worker *worker)
{
	struct fp_tunnel *none = calloc(1, sizeof(*none));
	int error = open_descriptors(worker);

	if (none == NULL)
		return ENOMEM;
	none->descriptor = -1;
	atomic_store(&worker->tunnel, none);
	if (error != 0)
		return error;
	worker->tx = fp_tx_new(worker);
	worker->rx = fp_rx_new(worker);
	if (worker->tx == NULL || worker->rx == NULL)
		return ENOMEM;
	return start_threads(worker);
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
	worker->epoll = worker->wake_rx = worker->wake_tx = -1;
	pthread_mutex_init(&worker->request_lock, NULL);
	pthread_cond_init(&worker->request_done, NULL);
	fp_peers_init(&worker->peers);
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
	wake(worker->wake_rx);
	wake(worker->wake_tx);
	for (unsigned int i = 0; i < worker->started; i++)
		pthread_join(worker->threads[i], NULL);
	fp_peers_free(&worker->peers);
	while ((link = fp_map_next(&worker->links, &position)) != NULL)
		fp_link_free(link);
	fp_map_free(&worker->links);
	if (worker->tx != NULL)
		fp_tx_free(worker->tx);
	if (worker->rx != NULL)
		fp_rx_free(worker->rx);
	free(atomic_load(&worker->tunnel));
	fp_queue_free(&worker->queue);
	if (worker->epoll >= 0)
		close(worker->epoll);
	if (worker->wake_rx >= 0)
		close(worker->wake_rx);
	if (worker->wake_tx >= 0)
		close(worker->wake_tx);
	pthread_mutex_destroy(&worker->request_lock);
	pthread_cond_destroy(&worker->request_done);
	free(worker);
}

/* The sending thread answers between two batches, within milliseconds. */
static void ask(struct fp_worker *worker, enum fp_request_kind kind, uint32_t peer,
		const struct fp_tunnel *tunnel)
{
	pthread_mutex_lock(&worker->request_lock);
	worker->request = kind;
	worker->request_peer = peer;
	worker->request_tunnel = tunnel;
	wake(worker->wake_tx);
	while (worker->request != FP_REQUEST_NONE)
		pthread_cond_wait(&worker->request_done, &worker->request_lock);
	pthread_mutex_unlock(&worker->request_lock);
}

int fp_worker_set_tunnel(struct fp_worker *worker, const struct fp_tunnel *tunnel)
{
	struct fp_tunnel *copy = malloc(sizeof(*copy)), *before;

	if (copy == NULL)
		return ENOMEM;
	*copy = *tunnel;
	before = atomic_exchange(&worker->tunnel, copy);
	atomic_store(&worker->tunnel_lost, tunnel->descriptor < 0);
	ask(worker, FP_REQUEST_TUNNEL, 0, copy);
	fp_grace_wait(&worker->peers.grace);
	free(before);
	return 0;
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
	error = fp_link_watch(link, worker->epoll);
	if (error == 0)
		return 0;
	pthread_mutex_lock(&peers->lock);
	fp_map_remove(&worker->links, link);
	pthread_mutex_unlock(&peers->lock);
	fp_grace_wait(&peers->grace);
	return error;
}

void fp_worker_remove_link(struct fp_worker *worker, struct fp_link *link)
{
	struct fp_peers *peers = &worker->peers;

	epoll_ctl(worker->epoll, EPOLL_CTL_DEL, link->descriptor, NULL);
	pthread_mutex_lock(&peers->lock);
	link->gone = true;
	fp_map_remove(&worker->links, link);
	fp_peers_unlink(peers, link);
	fp_grace_reap(&peers->grace);
	pthread_mutex_unlock(&peers->lock);
	fp_grace_wait(&peers->grace);
	fp_link_free(link);
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

void fp_worker_send_exit(struct fp_worker *worker, uint32_t peer)
{
	ask(worker, FP_REQUEST_EXIT, peer, NULL);
}

void fp_worker_tunnel_lost(struct fp_worker *worker, int error)
{
	struct fp_report report = { .kind = FP_REPORT_TUNNEL_LOST, .value = error };

	if (!atomic_exchange(&worker->tunnel_lost, true))
		fp_queue_push(&worker->queue, &report, NULL, 0);
}

const struct fp_counts *fp_worker_counts(const struct fp_worker *worker, unsigned int writer)
{
	if (writer == 0)
		return fp_tx_counts(worker->tx);
	return writer == 1 ? fp_rx_counts(worker->rx) : &worker->control_counts;
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
