/* SPDX-License-Identifier: Apache-2.0 */
/* The receiving thread: socket -> peer -> open -> source check -> merge -> tunnel device. */
#ifndef OVPN6_FASTPATH_RX_H
#define OVPN6_FASTPATH_RX_H

#include <sys/epoll.h>

#include "worker.h"

/**
 * fp_rx_new() - its buffers
 *
 * Return: NULL without memory.
 */
struct fp_rx *fp_rx_new(struct fp_lane *lane);

/**
 * fp_rx_free() - when its thread has ended
 */
void fp_rx_free(struct fp_rx *rx);

/**
 * fp_rx_run() - the thread
 * @rx: a struct fp_rx
 */
void *fp_rx_run(void *rx);

/**
 * fp_rx_serve() - take what a link holds, up to a bound
 */
void fp_rx_serve(struct fp_rx *rx, const struct epoll_event *event);

/**
 * fp_rx_tick() - about once a second
 * @now: milliseconds
 */
void fp_rx_tick(const struct fp_lane *lane, int64_t now);

/**
 * fp_rx_counts() - its drops
 */
struct fp_counts *fp_rx_counts(struct fp_rx *rx);

#endif
