/* SPDX-License-Identifier: Apache-2.0 */
/* Sending and receiving in one thread, for machines with few processors. */
#ifndef OVPN6_FASTPATH_BOTH_H
#define OVPN6_FASTPATH_BOTH_H

/**
 * fp_both_run() - the thread
 * @lane: a struct fp_lane
 */
void *fp_both_run(void *lane);

#endif
