/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The native worker without threads and without secrets: its "cipher" copies, and takes every tag
 * but those that end in FUZZ_FORGED. So mutated datagrams get as far as authentic ones.
 */
#ifndef FUZZ_WORKER_H
#define FUZZ_WORKER_H

#include "worker.h"

#define FUZZ_FORGED 0xff
#define FUZZ_PEERS 4
#define FUZZ_UDP 1
#define FUZZ_STREAM 2
#define FUZZ_MOST_FRAME 4096

/* Octets of an input, used up from the front. */
struct fuzz_input {
	const uint8_t *at;
	size_t left;
};

/* The next octet, 0 when there is none. */
uint8_t fuzz_octet(struct fuzz_input *input);

/* The next 16 bits, little-endian. */
uint16_t fuzz_number(struct fuzz_input *input);

/* A copy of the next octets, so that a sanitizer sees what is read beyond it; @size is cut down. */
uint8_t *fuzz_copy(struct fuzz_input *input, size_t *size, size_t before, size_t behind);

/* End with a crash unless it holds. */
void fuzz_demand(bool holds);

/*
 * Peers 1 to FUZZ_PEERS: 1 and 3 with classic keys of ids 0 and 1, 2 and 4 with an epoch key of id
 * 0. Peer 4 is at the stream, the others are nowhere. Of peer n are 2001:db8:n::/48 and 10.n.0.0/16
 * but for peer 3, to which everything else leads. They frame as @mode says.
 */
struct fp_worker *fuzz_worker_new(uint8_t mode);

/* Of one of two links, with a descriptor or -1. */
struct fp_link *fuzz_link(struct fp_worker *worker, uint32_t id, int descriptor);

/* Records of address, size of a train's datagrams, length and octets, as a UDP socket gives them. */
void fuzz_datagrams(struct fuzz_input *input, uint8_t mode);

/* What a TCP connection gives, in pieces. */
void fuzz_stream(struct fuzz_input *input, uint8_t mode);

/* Records of length and octets, as the tunnel gives them. */
void fuzz_tunnel(struct fuzz_input *input, uint8_t mode);

/* Prefixes that come and go, and addresses to be looked up; compared with a plain list. */
void fuzz_prefixes(struct fuzz_input *input);

#endif
