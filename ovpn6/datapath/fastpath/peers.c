// SPDX-License-Identifier: Apache-2.0
/* Tables of peers, and what is published of each. */

#include "peers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "link.h"

void fp_peers_init(struct fp_peers *peers, uint32_t lanes)
{
	peers->lanes = lanes;
	pthread_mutex_init(&peers->lock, NULL);
	fp_grace_init(&peers->grace);
	fp_map_init(&peers->by_id, offsetof(struct fp_peer, id), sizeof(uint32_t));
	fp_map_init(&peers->by_path, offsetof(struct fp_path, key), sizeof(struct fp_path_key));
	fp_routes_init(&peers->routes);
}

void fp_peers_free(struct fp_peers *peers)
{
	struct fp_peer *peer;
	size_t position = 0;

	while ((peer = fp_map_next(&peers->by_id, &position)) != NULL) {
		fp_peer_leave(peers, peer);
		fp_peer_free(peer);
	}
	fp_grace_reap(&peers->grace);
	fp_map_free(&peers->by_id);
	fp_map_free(&peers->by_path);
	fp_routes_free(&peers->routes);
	pthread_mutex_destroy(&peers->lock);
}

int fp_peer_add(struct fp_peers *peers, uint32_t id, struct fp_peer **added)
{
	struct fp_peer *peer;
	void *replaced;

	if (fp_peer_find(peers, id) != NULL)
		return EEXIST;
	peer = calloc(1, sizeof(*peer));
	if (peer == NULL)
		return ENOMEM;
	peer->id = id;
	atomic_init(&peer->sender, id % peers->lanes);
	atomic_init(&peer->receiver, id % peers->lanes);
	if (!fp_map_put(&peers->by_id, &peers->grace, peer, &replaced)) {
		free(peer);
		return ENOMEM;
	}
	*added = peer;
	return 0;
}

struct fp_peer *fp_peer_find(const struct fp_peers *peers, uint32_t id)
{
	return fp_map_find(&peers->by_id, &id);
}

void fp_peer_unpublish(struct fp_peers *peers, struct fp_peer *peer)
{
	peer->gone = true;
	fp_map_remove(&peers->by_id, peer);
	fp_peer_leave(peers, peer);
}

void fp_peer_free(struct fp_peer *peer)
{
	for (unsigned int slot = 0; slot < FP_SLOTS; slot++)
		fp_key_free(peer->slots[slot]);
	free(peer);
}

bool fp_peer_place(struct fp_peers *peers, struct fp_peer *peer, struct fp_link *link,
		   const struct fp_path_key *key, const uint8_t *local, uint32_t local_size)
{
	struct fp_path *path, *before;
	void *replaced;

	/* The receiving thread may still hold what was removed meanwhile. */
	if (peer->gone || link->gone)
		return false;
	path = calloc(1, sizeof(*path));
	if (path == NULL)
		return false;
	path->key = *key;
	path->link = link;
	path->peer = peer;
	path->local_size = local_size;
	memcpy(path->local, local, local_size);
	/* Whoever was reached there keeps its path, and just does not own it any more. */
	if (!fp_map_put(&peers->by_path, &peers->grace, path, &replaced)) {
		free(path);
		return false;
	}
	before = atomic_exchange(&peer->path, path);
	if (before != NULL)
		fp_map_remove(&peers->by_path, before);
	fp_grace_retire(&peers->grace, before);
	return true;
}

void fp_peer_leave(struct fp_peers *peers, struct fp_peer *peer)
{
	struct fp_path *path = atomic_exchange(&peer->path, NULL);

	if (path == NULL)
		return;
	fp_map_remove(&peers->by_path, path);
	fp_grace_retire(&peers->grace, path);
}

void fp_peers_unlink(struct fp_peers *peers, const struct fp_link *link)
{
	struct fp_peer *peer;
	size_t position = 0;

	while ((peer = fp_map_next(&peers->by_id, &position)) != NULL) {
		const struct fp_path *path = atomic_load(&peer->path);

		if (path != NULL && path->link == link)
			fp_peer_leave(peers, peer);
	}
}

struct fp_peer *fp_peer_holder(const struct fp_peers *peers, const struct fp_path_key *key)
{
	const struct fp_path *path = fp_map_find(&peers->by_path, key);

	return path == NULL ? NULL : path->peer;
}

static void publish(struct fp_peer *peer)
{
	struct fp_key *primary = peer->slots[0], *secondary = peer->slots[1];

	atomic_store(&peer->send, primary);
	for (unsigned int id = 0; id < FP_KEY_IDS; id++) {
		struct fp_key *key = NULL;

		/* Should both slots hold one key id, the primary opens. */
		if (primary != NULL && primary->key_id == id)
			key = primary;
		else if (secondary != NULL && secondary->key_id == id)
			key = secondary;
		if (atomic_load(&peer->receive[id]) != key)
			atomic_store(&peer->receive[id], key);
	}
}

struct fp_key *fp_peer_install(struct fp_peer *peer, unsigned int slot, struct fp_key *key)
{
	struct fp_key *before = peer->slots[slot];

	peer->slots[slot] = key;
	publish(peer);
	return before;
}

void fp_peer_swap(struct fp_peer *peer)
{
	struct fp_key *primary = peer->slots[0];

	peer->slots[0] = peer->slots[1];
	peer->slots[1] = primary;
	publish(peer);
}
