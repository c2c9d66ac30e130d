// SPDX-License-Identifier: Apache-2.0
/*
 * What is received often makes an answer that waits in the tunnel at once: an acknowledgement, an
 * echo. So the tunnel is looked at after each batch, and no other thread has to be woken for it.
 */

#include "both.h"

#include <sys/epoll.h>
#include <sys/prctl.h>

#include "keepalive.h"
#include "rx.h"
#include "tx.h"
#include "worker.h"

#define EVENTS 32

static void online(struct fp_worker *worker)
{
	fp_grace_online(&worker->peers.grace, FP_READER_TX);
	fp_grace_online(&worker->peers.grace, FP_READER_RX);
}

static void offline(struct fp_worker *worker)
{
	fp_grace_offline(&worker->peers.grace, FP_READER_TX);
	fp_grace_offline(&worker->peers.grace, FP_READER_RX);
}

static void serve(struct fp_worker *worker, const struct epoll_event *event)
{
	if (event->data.u32 == FP_WAKE_TX_EVENT)
		fp_tx_answer(worker->tx);
	else if (event->data.u32 != FP_TUNNEL_EVENT)
		fp_rx_serve(worker->rx, event);
}

void *fp_both_run(void *argument)
{
	struct fp_worker *worker = argument;
	int64_t due = fp_now() + FP_TICK_MILLISECONDS;
	bool more = false;

	prctl(PR_SET_NAME, "ovpn6 data");
	while (!atomic_load(&worker->stop)) {
		struct epoll_event events[EVENTS];
		int64_t now = fp_now();
		int wait = more || due <= now ? 0 : (int)(due - now);
		int count = epoll_wait(worker->epoll, events, EVENTS, wait);

		online(worker);
		for (int i = 0; i < count; i++) {
			serve(worker, &events[i]);
			fp_grace_quiescent(&worker->peers.grace, FP_READER_TX);
			fp_grace_quiescent(&worker->peers.grace, FP_READER_RX);
		}
		now = fp_now();
		if (now >= due) {
			due = now + FP_TICK_MILLISECONDS;
			fp_rx_tick(worker, now);
			fp_keepalive_tick(worker, worker->tx, now);
		}
		more = (more || count > 0) && fp_tx_drain(worker->tx);
		offline(worker);
	}
	return NULL;
}
