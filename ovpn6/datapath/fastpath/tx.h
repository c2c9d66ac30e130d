/* SPDX-License-Identifier: Apache-2.0 */
/* The sending thread: tunnel device -> peer -> segments -> sealed trains -> socket. */
#ifndef OVPN6_FASTPATH_TX_H
#define OVPN6_FASTPATH_TX_H

#include "worker.h"

/**
 * fp_tx_new() - its buffers
 *
 * Return: NULL without memory.
 */
struct fp_tx *fp_tx_new(struct fp_lane *lane);

/**
 * fp_tx_free() - when its thread has ended
 */
void fp_tx_free(struct fp_tx *tx);

/**
 * fp_tx_run() - the thread
 * @tx: a struct fp_tx
 */
void *fp_tx_run(void *tx);

/**
 * fp_tx_special() - send a ping or an OCC message; the sending thread
 * @exhausted: counted when the key is
 *
 * Return: whether a datagram was sealed.
 */
bool fp_tx_special(struct fp_tx *tx, struct fp_peer *peer, const uint8_t *message, size_t length,
		   enum fp_drop exhausted);

/**
 * fp_tx_drain() - send what the tunnel holds, up to a bound
 *
 * Return: whether it may hold more.
 */
bool fp_tx_drain(struct fp_tx *tx);

/**
 * fp_tx_answer() - do what was asked of the sending thread
 */
void fp_tx_answer(struct fp_tx *tx);

/**
 * fp_tx_counts() - its drops
 */
struct fp_counts *fp_tx_counts(struct fp_tx *tx);

#endif
