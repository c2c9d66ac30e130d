/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker: threads that seal and send what comes out of the tunnel device, and open and write
 * into it what comes out of the sockets, and what Python may ask of them.
 *
 * It has one or several lanes, which is what documents and the log call several workers. A lane has
 * a queue of the device, a socket of each UDP link, and a thread for each direction; on a machine
 * with few processors one thread is both (both.h). The kernel steers a peer's packets to its lane
 * (steer.h); what comes to another is dropped, for only one thread may use a key.
 *
 * Functions here are called by one thread of control at a time, which is none of these.
 */
#ifndef OVPN6_FASTPATH_WORKER_H
#define OVPN6_FASTPATH_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "counts.h"
#include "flow_label.h"
#include "link.h"
#include "map.h"
#include "peers.h"
#include "queue.h"
#include "steer.h"

/* The two readers of the grace periods that a lane is. */
#define FP_READER_TX 0
#define FP_READER_RX 1

#define FP_TICK_MILLISECONDS 1000
/* Link ids are below: these stand for wake-ups and, in a worker of one thread, for the tunnel. */
#define FP_NO_LINK UINT32_MAX
#define FP_WAKE_TX_EVENT (UINT32_MAX - 1)
#define FP_TUNNEL_EVENT (UINT32_MAX - 2)

struct fp_rx;
struct fp_tx;

enum fp_request_kind {
	FP_REQUEST_NONE,
	FP_REQUEST_EXIT,
	FP_REQUEST_TUNNEL,
};

/**
 * struct fp_tunnel - a queue of the tunnel device
 * @descriptor: non-blocking; -1 is none
 * @vnet: each read and write begins with a struct ovpn6_vnet
 * @udp: it takes UDP super-packets
 */
struct fp_tunnel {
	int descriptor;
	bool vnet;
	bool udp;
};

/**
 * struct fp_lane - the threads that take care of a share of the peers
 * @epoll: of the receiving thread, which @wake_rx wakes; likewise @wake_tx
 * @request: what the sending thread is asked to do; under @request_lock
 */
struct fp_lane {
	struct fp_worker *worker;
	uint32_t index;
	int epoll;
	int wake_rx;
	int wake_tx;
	pthread_mutex_t request_lock;
	pthread_cond_t request_done;
	enum fp_request_kind request;
	uint32_t request_peer;
	const struct fp_tunnel *request_tunnel;
	pthread_t threads[2];
	unsigned int started;
	struct fp_tx *tx;
	struct fp_rx *rx;
};

/**
 * struct fp_worker - everything
 * @tunnels: a queue for each lane, as the receiving threads see them; replaced as a whole
 * @tunnel_lost: the loss of the device was told
 * @links: by id
 * @window: size of replay windows, and their time bound
 * @copy_dscp: outer packets get the DSCP of inner ones (passtos)
 * @single: one thread does the work of both
 * @label_flows: outer packets get flow labels by inner flow, under @flow_secret
 * @steering: of the tunnel device; none until it is asked for
 * @lanes: @count of them have threads; @peers.lanes share the peers
 * @control_counts: of the caller's own sends
 */
struct fp_worker {
	struct fp_peers peers;
	struct fp_queue queue;
	struct fp_map links;
	_Atomic(struct fp_tunnel *) tunnels;
	_Atomic bool tunnel_lost;
	uint32_t window;
	uint32_t window_milliseconds;
	bool copy_dscp;
	bool single;
	bool label_flows;
	uint8_t flow_secret[OVPN6_FLOW_SECRET];
	_Atomic bool stop;
	struct fp_steering steering;
	uint32_t count;
	struct fp_lane lanes[FP_LANES];
	struct fp_counts control_counts;
};

/**
 * struct fp_worker_settings - what is the same for all peers; see struct fp_worker
 * @lanes: 1 to FP_LANES
 * @flow_secret: OVPN6_FLOW_SECRET octets, NULL for the kernel's own flow labels
 */
struct fp_worker_settings {
	uint32_t window;
	uint32_t window_milliseconds;
	bool copy_dscp;
	bool single;
	uint32_t lanes;
	const uint8_t *flow_secret;
};

/**
 * fp_worker_new() - start the threads
 * @error: set to an errno
 *
 * Return: NULL when that failed.
 */
struct fp_worker *fp_worker_new(const struct fp_worker_settings *settings, int *error);

/**
 * fp_worker_free() - stop the threads, forget all peers and links; descriptors stay open
 */
void fp_worker_free(struct fp_worker *worker);

/**
 * fp_worker_set_tunnel() - use another device from now on; the old one is not touched any more
 * @tunnels: a queue for each lane that shares the peers, or none
 *
 * Return: 0 or an errno.
 */
int fp_worker_set_tunnel(struct fp_worker *worker, const struct fp_tunnel *tunnels, uint32_t count);

/**
 * fp_worker_gather() - all peers are the first lane's from now on
 *
 * When this returns only the first socket of a link and the first queue of the tunnel are used;
 * the latter still have to be set.
 */
void fp_worker_gather(struct fp_worker *worker);

/**
 * fp_worker_add_link() - begin to receive
 *
 * Return: 0, or an errno with the link still the caller's.
 */
int fp_worker_add_link(struct fp_worker *worker, struct fp_link *link);

/**
 * fp_worker_remove_link() - its peers stay, without a path; its descriptor is not used any more
 */
void fp_worker_remove_link(struct fp_worker *worker, struct fp_link *link);

/**
 * fp_worker_place() - a peer is reached there from now on
 *
 * Return: false without memory.
 */
bool fp_worker_place(struct fp_worker *worker, struct fp_peer *peer, struct fp_link *link,
		     const struct fp_path_key *key, const uint8_t *local, uint32_t local_size);

/**
 * fp_worker_remove_peer() - forget it
 * @last: told its last counters before it goes
 */
void fp_worker_remove_peer(struct fp_worker *worker, struct fp_peer *peer,
			   void (*last)(const struct fp_peer *peer, void *context), void *context);

/**
 * fp_worker_install() - put a key into a slot, NULL to empty it, and free what was there
 */
void fp_worker_install(struct fp_worker *worker, struct fp_peer *peer, unsigned int slot,
		       struct fp_key *key);

/**
 * fp_worker_send_exit() - OpenVPN's OCC exit, sent when this returns
 */
void fp_worker_send_exit(struct fp_worker *worker, const struct fp_peer *peer);

/**
 * fp_worker_tunnel_lost() - tell it once; the threads'
 */
void fp_worker_tunnel_lost(struct fp_worker *worker, int error);

/**
 * fp_lane_name() - name the calling thread
 */
void fp_lane_name(const struct fp_lane *lane, const char *part);

/**
 * fp_reader() - a thread of a lane as a reader of the grace periods
 */
static inline unsigned int fp_reader(const struct fp_lane *lane, unsigned int reader)
{
	return 2 * lane->index + reader;
}

/**
 * fp_worker_writers() - how many count
 */
unsigned int fp_worker_writers(const struct fp_worker *worker);

/**
 * fp_worker_counts() - those of one of the writers: two of each lane, then the caller's
 */
const struct fp_counts *fp_worker_counts(const struct fp_worker *worker, unsigned int writer);

/**
 * fp_now() - milliseconds on the monotonic clock
 */
int64_t fp_now(void);

/**
 * fp_is_gone() - what reading or writing says when the device was deleted underneath us
 */
bool fp_is_gone(int error);

#endif
