/* SPDX-License-Identifier: Apache-2.0 */
/* Sending and receiving in one thread, for machines with few processors. */
#ifndef OVPN6_FASTPATH_BOTH_H
#define OVPN6_FASTPATH_BOTH_H

/**
 * fp_both_run() - the thread
 * @worker: a struct fp_worker
 */
void *fp_both_run(void *worker);

#endif
