/* SPDX-License-Identifier: Apache-2.0 */
/* Once a second for every peer: pings, silence, idleness, worn-out keys. */
#ifndef OVPN6_FASTPATH_KEEPALIVE_H
#define OVPN6_FASTPATH_KEEPALIVE_H

#include "tx.h"
#include "worker.h"

/**
 * fp_keepalive_tick() - look at every peer of the lane that has a key; its sending thread
 * @now: milliseconds
 */
void fp_keepalive_tick(const struct fp_lane *lane, int64_t now);

#endif
