/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The peers: by id, by path, by inner address; their keys, specs and counters.
 *
 * Threads read while Python changes: what they follow is published, and freed after a grace period.
 * One lock serialises changes, which are Python's calls and the floats of receiving threads.
 *
 * Of each peer one sending and one receiving thread takes care, by its id: theirs are keys, windows
 * and counters, without a lock.
 */
#ifndef OVPN6_FASTPATH_PEERS_H
#define OVPN6_FASTPATH_PEERS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "counts.h"
#include "grace.h"
#include "keys.h"
#include "map.h"
#include "queue.h"
#include "routes.h"

struct fp_link;
struct fp_peer;

#define FP_KEY_IDS 8
#define FP_SLOTS 2
/* Lanes that there may be (worker.h), and what stands for none of them. */
#define FP_LANES 16
#define FP_NO_LANE UINT32_MAX
_Static_assert(FP_READERS == 2 * FP_LANES, "each thread is a reader");

/* How a payload carries an inner packet (Framing in ovpn6/model/specs.py). */
enum fp_framing {
	FP_FRAMING_NONE,
	FP_FRAMING_STUB,
	FP_FRAMING_STUB_SWAP,
	FP_FRAMING_STUB_V2,
};

/**
 * struct fp_path_key - the remote end of a path; unique over all links
 * @address: a struct sockaddr_in or sockaddr_in6, zeros behind it; all zeros for a stream
 */
struct fp_path_key {
	uint32_t link;
	uint8_t address[FP_ADDRESS_SIZE];
};

/**
 * struct fp_path - where a peer is reached; never changed once published
 * @local: our own address of a multihomed link, of @local_size octets (0, 4 or 16)
 */
struct fp_path {
	struct fp_path_key key;
	struct fp_link *link;
	struct fp_peer *peer;
	uint8_t local[16];
	uint32_t local_size;
};

/**
 * struct fp_tally - packets and octets of one direction, with one writer
 * @packets: datagrams sealed or opened
 * @octets: their payloads
 * @overhead: octets of headers and tags
 * @special_packets: that are no inner packets (ping, OCC, dropped after opening)
 * @framing: octets of compression stubs
 */
struct fp_tally {
	_Atomic uint64_t packets;
	_Atomic uint64_t octets;
	_Atomic uint64_t overhead;
	_Atomic uint64_t special_packets;
	_Atomic uint64_t special_octets;
	_Atomic uint64_t framing;
};

/**
 * struct fp_peer_spec - what may change about a peer; each field by itself
 * @interval: seconds of send silence before a ping; @timeout: of receive silence; 0 is never
 * @copy_ecn: it carries congestion marks of outer packets back inside (RFC 6040 4.1)
 */
struct fp_peer_spec {
	_Atomic uint32_t send_id;
	_Atomic uint32_t interval;
	_Atomic uint32_t timeout;
	_Atomic uint32_t inactive_after;
	_Atomic uint64_t inactive_octets;
	_Atomic uint32_t framing;
	_Atomic bool float_allowed;
	_Atomic bool copy_ecn;
};

/**
 * struct fp_watch - what the keepalive last saw, and when in milliseconds; the sending thread's
 */
struct fp_watch {
	bool began;
	bool told_expired;
	bool told_inactive;
	int64_t sent_at;
	int64_t heard_at;
	int64_t moved_at;
	uint64_t sent_packets;
	uint64_t heard_packets;
	uint64_t moved_octets;
};

/**
 * struct fp_peer - one peer
 * @id: what its packets to us carry
 * @path: where it is; NULL while its link is closed
 * @send: the primary key; NULL is none
 * @receive: by key id
 * @slots: primary and secondary; the caller's of changes
 * @live_since: milliseconds, when its first key came; 0 before
 * @moves: times that it came another way since the last tick of the receiving thread
 * @routes: prefixes that lead to it
 * @gone: it was removed; under the lock
 * @sender: the lane whose sending thread has it; @receiver likewise. FP_NO_LANE while it changes
 * @sent: the sending thread's; @received: the receiving thread's
 */
struct fp_peer {
	uint32_t id;
	uint32_t moves;
	_Atomic(struct fp_path *) path;
	_Atomic(struct fp_key *) send;
	_Atomic(struct fp_key *) receive[FP_KEY_IDS];
	struct fp_key *slots[FP_SLOTS];
	struct fp_peer_spec spec;
	_Atomic int64_t live_since;
	uint64_t routes;
	bool gone;
	_Atomic uint32_t sender;
	_Atomic uint32_t receiver;
	struct fp_tally sent;
	struct fp_tally received;
	struct fp_watch watch;
};

/**
 * struct fp_peers - all of them
 * @lock: serialises changes; a thread that has it does not wait for grace periods
 * @lanes: that share the peers
 */
struct fp_peers {
	pthread_mutex_t lock;
	uint32_t lanes;
	struct fp_grace grace;
	struct fp_map by_id;
	struct fp_map by_path;
	struct fp_routes routes;
};

/**
 * fp_peers_init() - nobody
 * @lanes: up to FP_LANES
 */
void fp_peers_init(struct fp_peers *peers, uint32_t lanes);

/**
 * fp_peers_free() - when no thread is left
 */
void fp_peers_free(struct fp_peers *peers);

/**
 * fp_peer_add() - a peer without keys and path, its spec all zeros; under the lock
 *
 * Return: 0, EEXIST or ENOMEM.
 */
int fp_peer_add(struct fp_peers *peers, uint32_t id, struct fp_peer **added);

/**
 * fp_peer_find() - NULL when there is none; under the lock or from a reader
 */
struct fp_peer *fp_peer_find(const struct fp_peers *peers, uint32_t id);

/**
 * fp_peer_unpublish() - no thread finds it any more; under the lock
 *
 * Its routes must be gone. fp_peer_free() follows after a grace period.
 */
void fp_peer_unpublish(struct fp_peers *peers, struct fp_peer *peer);

/**
 * fp_peer_free() - keys and all
 */
void fp_peer_free(struct fp_peer *peer);

/**
 * fp_peer_place() - it is reached there from now on; under the lock
 *
 * Return: false without memory, or when peer or link were removed; it is where it was then.
 */
bool fp_peer_place(struct fp_peers *peers, struct fp_peer *peer, struct fp_link *link,
		   const struct fp_path_key *key, const uint8_t *local, uint32_t local_size);

/**
 * fp_peer_leave() - it is reached nowhere; under the lock
 */
void fp_peer_leave(struct fp_peers *peers, struct fp_peer *peer);

/**
 * fp_peers_unlink() - nobody is reached over a link any more; under the lock
 */
void fp_peers_unlink(struct fp_peers *peers, const struct fp_link *link);

/**
 * fp_peer_holder() - who is reached there; under the lock
 */
struct fp_peer *fp_peer_holder(const struct fp_peers *peers, const struct fp_path_key *key);

/**
 * fp_peer_install() - put a key into a slot, NULL to empty it; under the lock
 *
 * Return: what was there. It is to be freed after a grace period.
 */
struct fp_key *fp_peer_install(struct fp_peer *peer, unsigned int slot, struct fp_key *key);

/**
 * fp_peer_swap() - the slots change places; under the lock
 */
void fp_peer_swap(struct fp_peer *peer);

#endif
