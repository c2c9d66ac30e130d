/* SPDX-License-Identifier: Apache-2.0 */
/* What comes out of the tunnel, through the sending thread's own functions. */
#include "fuzz_worker.h"

#include "tx.c"

#define VNET 0x10

void fuzz_tunnel(struct fuzz_input *input, uint8_t mode)
{
	struct fp_worker *worker = fuzz_worker_new(mode);
	struct fp_tx tx = { .lane = &worker->lanes[0], .worker = worker, .tunnel.descriptor = -1 };

	tx.train = malloc(TRAIN_ROOM);
	fuzz_demand(tx.train != NULL);
	while (input->left > 0) {
		struct ovpn6_vnet vnet = { 0 };
		size_t length = fuzz_number(input), skip = mode & VNET ? OVPN6_VNET_SIZE : 0;
		uint8_t *packet = fuzz_copy(input, &length, 1, 1);

		if (length > skip) {
			memcpy(&vnet, packet + 1, skip);
			handle_packet(&tx, &vnet, packet + 1 + skip, length - skip);
		}
		free(packet);
	}
	flush(&tx);
	free(tx.train);
	fp_worker_free(worker);
}
