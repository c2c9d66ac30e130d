/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the threads tell Python: a bounded ring of records and a descriptor to poll.
 *
 * Control packets may take only so much of it that reports always find room; what strangers send
 * beyond that is dropped and counted by the caller.
 */
#ifndef OVPN6_FASTPATH_QUEUE_H
#define OVPN6_FASTPATH_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FP_QUEUE_OCTETS (1u << 19)
#define FP_QUEUE_CONTROL (FP_QUEUE_OCTETS / 4 * 3)
#define FP_ADDRESS_SIZE 28

/* Numbers that _fastpath.pyi and reports.py know too. */
enum fp_report_kind {
	FP_REPORT_CONTROL = 1,
	FP_REPORT_LINK_CLOSED = 2,
	FP_REPORT_FLOATED = 3,
	FP_REPORT_CONFLICT = 4,
	FP_REPORT_EXPIRED = 5,
	FP_REPORT_INACTIVE = 6,
	FP_REPORT_EXITED = 7,
	FP_REPORT_WORN_OUT = 8,
	FP_REPORT_CONFIRMED = 9,
	FP_REPORT_TUNNEL_LOST = 10,
	FP_REPORT_NOTICE = 11,
};

/* Why a connection ended, in FP_REPORT_LINK_CLOSED; @value is the errno or the length. */
enum fp_ending {
	FP_ENDED_BY_REMOTE = 1,
	FP_ENDED_RECEIVE = 2,
	FP_ENDED_SEND = 3,
	FP_ENDED_LENGTH = 4,
};

/* What is given up for good, in FP_REPORT_NOTICE; @value is the errno. */
enum fp_notice {
	FP_NOTICE_NO_SEGMENT = 1,
	FP_NOTICE_NO_MERGE = 2,
	FP_NOTICE_NO_LABEL = 3,
};

/**
 * struct fp_report - one record; octets of a control packet follow it
 * @link: and @address, @local: the path that it came on
 * @other: the peer that has a path, the key id, the ending or the notice
 */
struct fp_report {
	uint32_t size;
	uint32_t kind;
	uint32_t link;
	uint32_t peer;
	uint32_t other;
	int32_t value;
	uint8_t address[FP_ADDRESS_SIZE];
	uint8_t local[16];
	uint32_t local_size;
};

/**
 * struct fp_queue - the ring
 * @event: an eventfd, readable while there is anything
 * @lock: protects the rest
 */
struct fp_queue {
	int event;
	pthread_mutex_t lock;
	uint64_t head;
	uint64_t tail;
	uint8_t *octets;
};

/**
 * fp_queue_init() - empty
 *
 * Return: 0 or an errno.
 */
int fp_queue_init(struct fp_queue *queue);

/**
 * fp_queue_free() - give memory and descriptor back
 */
void fp_queue_free(struct fp_queue *queue);

/**
 * fp_queue_push() - add one record
 * @report: its @size is set here
 * @data: what follows it, @length octets
 *
 * Return: false when there is no room for its kind.
 */
bool fp_queue_push(struct fp_queue *queue, struct fp_report *report, const void *data,
		   size_t length);

/**
 * fp_queue_pop() - take the oldest record
 * @data: set to what follows it, in @room, which has at least @most octets
 *
 * Return: the octets in @room, -1 when the queue is empty.
 */
ptrdiff_t fp_queue_pop(struct fp_queue *queue, struct fp_report *report, uint8_t *room,
		       size_t most);

#endif
