// SPDX-License-Identifier: Apache-2.0
/*
 * What is received often makes an answer that waits in the tunnel at once: an acknowledgement, an
 * echo. So the tunnel is looked at after each batch, and no other thread has to be woken for it.
 */

#include "both.h"

#include <sys/epoll.h>

#include "keepalive.h"
#include "rx.h"
#include "tx.h"
#include "worker.h"

#define EVENTS 32

static void serve(const struct fp_lane *lane, const struct epoll_event *event)
{
	if (event->data.u32 == FP_WAKE_TX_EVENT)
		fp_tx_answer(lane->tx);
	else if (event->data.u32 != FP_TUNNEL_EVENT)
		fp_rx_serve(lane->rx, event);
}

void *fp_both_run(void *argument)
{
	const struct fp_lane *lane = argument;
	struct fp_worker *worker = lane->worker;
	struct fp_grace *grace = &worker->peers.grace;
	unsigned int reader = fp_reader(lane, FP_READER_RX);
	int64_t due = fp_now() + FP_TICK_MILLISECONDS;
	bool more = false;

	fp_lane_name(lane, "data");
	while (!atomic_load(&worker->stop)) {
		struct epoll_event events[EVENTS];
		int64_t now = fp_now();
		int wait = more || due <= now ? 0 : (int)(due - now);
		int count = epoll_wait(lane->epoll, events, EVENTS, wait);

		fp_grace_online(grace, reader);
		for (int i = 0; i < count; i++) {
			serve(lane, &events[i]);
			fp_grace_quiescent(grace, reader);
		}
		now = fp_now();
		if (now >= due) {
			due = now + FP_TICK_MILLISECONDS;
			fp_rx_tick(lane, now);
			fp_keepalive_tick(lane, now);
		}
		more = (more || count > 0) && fp_tx_drain(lane->tx);
		fp_grace_offline(grace, reader);
	}
	return NULL;
}
