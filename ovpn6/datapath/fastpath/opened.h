/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of one datagram: whose it is, whether it is authentic and new, whether the peer may
 * be where it came from, and whether the inner packet may be its. The reference is the incoming
 * half of ovpn6/datapath/worker.py.
 */
#ifndef OVPN6_FASTPATH_OPENED_H
#define OVPN6_FASTPATH_OPENED_H

#include "counts.h"
#include "link.h"
#include "udp.h"
#include "worker.h"

/* A probe of a jumbo path is as long as its packets. */
#define FP_MOST_CONTROL 9216
#define FP_MOST_MOVES 8

/**
 * struct fp_inner - an inner packet that may go into the tunnel
 */
struct fp_inner {
	uint8_t *packet;
	size_t length;
};

/**
 * fp_datagram() - judge one datagram
 * @lane: whose receiving thread this is
 * @arrival: where it came from
 * @datagram: changed
 * @inner: set to what it holds
 *
 * What is not for the tunnel is told or counted here.
 *
 * Return: whether @inner is to be delivered.
 */
bool fp_datagram(const struct fp_lane *lane, struct fp_counts *counts, struct fp_link *link,
		 const struct fp_arrival *arrival, uint8_t *datagram, size_t length,
		 struct fp_inner *inner);

#endif
