/* SPDX-License-Identifier: Apache-2.0 */
/* TCP connections: frames out, and a bounded queue for what the kernel does not take at once. */
#ifndef OVPN6_FASTPATH_STREAM_H
#define OVPN6_FASTPATH_STREAM_H

#include "link.h"

/**
 * fp_stream_send() - as fp_link_send(); a full queue drops all of it
 */
void fp_stream_send(struct fp_link *link, const struct fp_train *train, struct fp_counts *counts);

/**
 * fp_stream_last_words() - try once to send what waits
 */
void fp_stream_last_words(struct fp_link *link);

/**
 * fp_stream_receive() - take what waits, behind the beginning of a frame that came before
 * @room: at least @most octets
 * @most: more than the longest frame
 * @length: set to the octets in @room
 *
 * Return: 0, an errno, or -1 at the end of the stream.
 */
int fp_stream_receive(struct fp_link *link, uint8_t *room, size_t most, size_t *length);

/**
 * fp_stream_keep() - the beginning of a frame, until the rest comes
 *
 * Return: false without memory.
 */
bool fp_stream_keep(struct fp_link *link, const uint8_t *octets, size_t length);

#endif
