/* SPDX-License-Identifier: Apache-2.0 */
/* UDP sockets: trains out (UDP_SEGMENT), merged datagrams in (UDP_GRO). */
#ifndef OVPN6_FASTPATH_UDP_H
#define OVPN6_FASTPATH_UDP_H

#include <sys/socket.h>
#include <sys/uio.h>

#include "link.h"

#define FP_UDP_MOST 65535
/* Datagrams that one call takes, each of so many octets if they are not to be copied. */
#define FP_BATCH 32
#define FP_BATCH_SLOT 2048

/**
 * struct fp_arrival - what one call received
 * @length: octets, at most FP_UDP_MOST
 * @size: of each datagram in them but the last
 * @traffic_class: of all of them; the kernel merges no others
 * @from: the path key of the sender
 * @local: our own address, of @local_size octets, on a multihomed link
 */
struct fp_arrival {
	size_t length;
	size_t size;
	uint8_t traffic_class;
	struct fp_path_key from;
	uint8_t local[16];
	uint32_t local_size;
};

/* What the kernel says beside a datagram. */
struct fp_received {
	_Alignas(struct cmsghdr) uint8_t octets[256];
};

/**
 * struct fp_batch - what one call received, of a kernel that merges nothing
 * @arrivals: of each, likewise @octets
 *
 * The rest is for udp.c alone.
 */
struct fp_batch {
	struct fp_arrival arrivals[FP_BATCH];
	uint8_t *octets[FP_BATCH];
	struct iovec parts[FP_BATCH][2];
	struct fp_received ancillary[FP_BATCH];
	uint8_t *overflow;
};

/**
 * fp_udp_send() - as fp_link_send()
 */
void fp_udp_send(struct fp_link *link, uint32_t lane, const struct fp_path *path,
		 const struct fp_train *train, struct fp_counts *counts);

/**
 * fp_udp_has_trains() - whether the kernel knows UDP_SEGMENT (Linux 4.18)
 */
bool fp_udp_has_trains(int descriptor);

/**
 * fp_udp_give_up_trains() - one datagram a call from now on; told once
 * @error: the errno that says why
 */
void fp_udp_give_up_trains(struct fp_link *link, int error);

/**
 * fp_udp_receive() - take one datagram, or several that the kernel merged
 * @room: FP_UDP_MOST octets
 *
 * Return: 0 or an errno.
 */
int fp_udp_receive(struct fp_link *link, uint32_t lane, uint8_t *room,
		   struct fp_arrival *arrival);

/**
 * fp_batch_new() - its buffers; what is not used takes no memory
 *
 * Return: NULL without memory.
 */
struct fp_batch *fp_batch_new(void);

/**
 * fp_batch_free() - give them back
 */
void fp_batch_free(struct fp_batch *batch);

/**
 * fp_udp_receive_batch() - as fp_udp_receive(), up to @most times
 * @room: @most * FP_BATCH_SLOT octets
 * @most: up to FP_BATCH
 *
 * Longer ones lie in @batch, until the next call.
 *
 * Return: how many came, fewer than @most when there are no more; a negative errno.
 */
int fp_udp_receive_batch(struct fp_link *link, uint32_t lane, uint8_t *room,
			 struct fp_batch *batch, unsigned int most);

#endif
