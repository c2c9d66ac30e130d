/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An outer socket: a UDP socket, or one TCP connection that carries datagrams behind a 16-bit
 * length. The references are ovpn6/datapath/udp_link.py and tcp_link.py. Descriptors are the
 * caller's.
 */
#ifndef OVPN6_FASTPATH_LINK_H
#define OVPN6_FASTPATH_LINK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "counts.h"
#include "peers.h"
#include "queue.h"

#define FP_TRAIN_SEGMENTS 64
#define FP_TRAIN_OCTETS 65000
#define FP_STREAM_QUEUE (128 * 1024)
#define FP_FRAME_HEADER 2

/**
 * struct fp_link - a socket
 * @sockets: a UDP link has one for each lane that shares the peers, a stream one
 * @count: of them; later ones are not to be used
 * @epoll: where a stream is watched
 * @family: AF_INET or AF_INET6
 * @segment: trains go out in one call; cleared when the kernel or the device cannot
 * @label: outer packets may have flow labels of ours; cleared when the kernel takes none
 * @frame_most: longest frame of a stream that is taken
 * @gone: it was removed; under the lock of the peers
 * @lock: of what waits for a stream to be writable, and of a socket's IP_MTU_DISCOVER
 * @waiting: @waiting_size octets, NULL when none do
 * @broken: a stream has ended, which was told
 * @partial: the beginning of a frame, @partial_size octets; the receiving thread's
 */
struct fp_link {
	uint32_t id;
	int sockets[FP_LANES];
	_Atomic uint32_t count;
	int epoll;
	int family;
	bool stream;
	bool multihome;
	_Atomic bool segment;
	_Atomic bool label;
	uint32_t frame_most;
	bool gone;
	struct fp_queue *queue;
	pthread_mutex_t lock;
	uint8_t *waiting;
	size_t waiting_size;
	bool broken;
	uint8_t *partial;
	size_t partial_size;
};

/**
 * struct fp_train - sealed datagrams of one size, one behind the other
 * @size: octets of each but the last, which may have fewer
 * @traffic_class: of the outer packets
 * @flow_label: of the outer packets over IPv6; 0 leaves it to the kernel
 */
struct fp_train {
	const uint8_t *octets;
	size_t length;
	size_t size;
	unsigned int count;
	uint8_t traffic_class;
	uint32_t flow_label;
};

/**
 * fp_link_new() - a link that is not watched yet
 * @sockets: up to FP_LANES
 *
 * Return: NULL without memory.
 */
struct fp_link *fp_link_new(uint32_t id, const int *sockets, uint32_t count,
			    struct fp_queue *queue);

/**
 * fp_link_free() - sends once more what waits; the descriptor stays open
 */
void fp_link_free(struct fp_link *link);

/**
 * fp_link_watch() - begin to receive from the socket of a lane
 *
 * Return: 0 or an errno.
 */
int fp_link_watch(struct fp_link *link, uint32_t lane, int epoll);

/**
 * fp_link_send() - send datagrams; what the kernel does not take is dropped and counted
 * @lane: of the calling thread
 * @path: a UDP link's destination
 * @counts: of the calling thread
 */
void fp_link_send(struct fp_link *link, uint32_t lane, const struct fp_path *path,
		  const struct fp_train *train, struct fp_counts *counts);

/**
 * fp_stream_writable() - send what waits; the receiving thread
 */
void fp_stream_writable(struct fp_link *link, struct fp_counts *counts);

/**
 * fp_stream_end() - the connection is over; told once
 * @value: an errno, or the length of a frame
 */
void fp_stream_end(struct fp_link *link, enum fp_ending ending, int value);

/**
 * fp_address_size() - octets of a socket address of the link's family
 */
size_t fp_address_size(const struct fp_link *link);

#endif
