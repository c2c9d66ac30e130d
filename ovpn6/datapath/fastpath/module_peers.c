// SPDX-License-Identifier: Apache-2.0
/* The Python module, second half: peers, prefixes and keys. */

#include "module.h"

#include <string.h>
#include <sys/socket.h>

#include "crypto.h"

#define IMPLICIT_IV 8

static struct fp_peer *peer_of(struct fp_worker *worker, unsigned int id)
{
	struct fp_peer *peer = fp_peer_find(&worker->peers, id);

	if (peer == NULL)
		PyErr_Format(PyExc_KeyError, "no peer %u", id);
	return peer;
}

/* --- peers --------------------------------------------------------------------------------- */

PyObject *fp_python_add_peer(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = fp_worker_of(self);
	struct fp_peer *peer;
	unsigned int id;
	int error;

	if (worker == NULL || !PyArg_ParseTuple(args, "I", &id))
		return NULL;
	if (id > 0xffffff)
		return fp_value_error("a peer id has 24 bits");
	pthread_mutex_lock(&worker->peers.lock);
	error = fp_peer_add(&worker->peers, id, &peer);
	pthread_mutex_unlock(&worker->peers.lock);
	if (error != 0)
		return fp_os_error(error);
	Py_RETURN_NONE;
}

PyObject *fp_python_set_peer(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = fp_worker_of(self);
	unsigned int id, send_id, interval, timeout, framing, inactive_after;
	unsigned long long inactive_octets;
	struct fp_peer *peer;
	int float_allowed, copy_ecn;

	if (worker == NULL ||
	    !PyArg_ParseTuple(args, "IIIIIpIKp", &id, &send_id, &interval, &timeout, &framing,
			      &float_allowed, &inactive_after, &inactive_octets, &copy_ecn))
		return NULL;
	if (send_id > 0xffffff || framing > FP_FRAMING_STUB_V2)
		return fp_value_error("a peer's send id or framing");
	peer = peer_of(worker, id);
	if (peer == NULL)
		return NULL;
	atomic_store(&peer->spec.send_id, send_id);
	atomic_store(&peer->spec.interval, interval);
	atomic_store(&peer->spec.timeout, timeout);
	atomic_store(&peer->spec.framing, framing);
	atomic_store(&peer->spec.float_allowed, float_allowed != 0);
	atomic_store(&peer->spec.inactive_after, inactive_after);
	atomic_store(&peer->spec.inactive_octets, inactive_octets);
	atomic_store(&peer->spec.copy_ecn, copy_ecn != 0);
	Py_RETURN_NONE;
}

PyObject *fp_python_place_peer(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = fp_worker_of(self);
	struct fp_path_key key = { 0 };
	const char *address, *local;
	Py_ssize_t size, local_size;
	unsigned int id, link_id;
	struct fp_link *link;
	struct fp_peer *peer;
	bool done;

	if (worker == NULL || !PyArg_ParseTuple(args, "IIy#y#", &id, &link_id, &address, &size,
						&local, &local_size))
		return NULL;
	peer = peer_of(worker, id);
	link = peer == NULL ? NULL : fp_link_of(worker, link_id);
	if (link == NULL)
		return NULL;
	if ((size_t)size != (link->stream ? 0 : fp_address_size(link)))
		return fp_value_error("an address of the link's family");
	if (local_size != 0 && (!link->multihome || local_size != (link->family == AF_INET ? 4 : 16)))
		return fp_value_error("a local address of a multihomed link");
	key.link = link_id;
	memcpy(key.address, address, (size_t)size);
	Py_BEGIN_ALLOW_THREADS
	done = fp_worker_place(worker, peer, link, &key, (const uint8_t *)local,
			       (uint32_t)local_size);
	Py_END_ALLOW_THREADS
	if (!done)
		return PyErr_NoMemory();
	Py_RETURN_NONE;
}

PyObject *fp_python_unplace_peer(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = fp_worker_of(self);
	struct fp_peer *peer;
	unsigned int id;

	if (worker == NULL || !PyArg_ParseTuple(args, "I", &id))
		return NULL;
	peer = peer_of(worker, id);
	if (peer == NULL)
		return NULL;
	pthread_mutex_lock(&worker->peers.lock);
	fp_peer_leave(&worker->peers, peer);
	pthread_mutex_unlock(&worker->peers.lock);
	Py_RETURN_NONE;
}

static PyObject *tally(const struct fp_peer *peer)
{
	unsigned long long packets[2], octets[2], link[2];
	const struct fp_tally *ways[2] = { &peer->received, &peer->sent };

	for (int i = 0; i < 2; i++) {
		packets[i] = fp_read(&ways[i]->packets) - fp_read(&ways[i]->special_packets);
		octets[i] = fp_read(&ways[i]->octets) - fp_read(&ways[i]->special_octets) -
			    fp_read(&ways[i]->framing);
		link[i] = fp_read(&ways[i]->octets) + fp_read(&ways[i]->overhead);
	}
	return Py_BuildValue("KKKKKK", link[0], link[1], octets[0], octets[1], packets[0],
			     packets[1]);
}

PyObject *fp_python_counters(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = fp_worker_of(self);
	struct fp_peer *peer;
	unsigned int id;

	if (worker == NULL || !PyArg_ParseTuple(args, "I", &id))
		return NULL;
	peer = peer_of(worker, id);
	return peer == NULL ? NULL : tally(peer);
}

static void last_counters(const struct fp_peer *peer, void *context)
{
	struct fp_tally *copies = context;

	memcpy(&copies[0], &peer->received, sizeof(copies[0]));
	memcpy(&copies[1], &peer->sent, sizeof(copies[1]));
}

PyObject *fp_python_remove_peer(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = fp_worker_of(self);
	struct fp_tally copies[2];
	struct fp_peer *peer, gone = { 0 };
	unsigned int id;

	if (worker == NULL || !PyArg_ParseTuple(args, "I", &id))
		return NULL;
	peer = peer_of(worker, id);
	if (peer == NULL)
		return NULL;
	if (peer->routes != 0)
		return fp_value_error("prefixes still lead to the peer");
	Py_BEGIN_ALLOW_THREADS
	fp_worker_remove_peer(worker, peer, last_counters, copies);
	Py_END_ALLOW_THREADS
	memcpy(&gone.received, &copies[0], sizeof(copies[0]));
	memcpy(&gone.sent, &copies[1], sizeof(copies[1]));
	return tally(&gone);
}

static bool prefix_of(const char *address, Py_ssize_t size, unsigned int length)
{
	bool lawful = (size == 16 || size == 4) && length <= 8 * (unsigned int)size;

	for (unsigned int bit = length; lawful && bit < 8 * (unsigned int)size; bit++)
		lawful = (address[bit / 8] & 0x80 >> bit % 8) == 0;
	if (!lawful)
		fp_value_error("a prefix");
	return lawful;
}

static bool is_steering(const struct fp_worker *worker)
{
	return worker->steering.map >= 0;
}

PyObject *fp_python_set_route(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = fp_worker_of(self);
	struct fp_peer *peer, *before;
	unsigned int length, id;
	const char *address;
	Py_ssize_t size;
	bool failed;
	int error;

	if (worker == NULL || !PyArg_ParseTuple(args, "y#II", &address, &size, &length, &id) ||
	    !prefix_of(address, size, length))
		return NULL;
	peer = peer_of(worker, id);
	if (peer == NULL)
		return NULL;
	/* Before the prefix is the peer's: what was steered earlier belongs to nobody yet. */
	if (is_steering(worker)) {
		error = fp_steer(&worker->steering, (const uint8_t *)address, (size_t)size, length,
				 atomic_load(&peer->sender));
		if (error != 0)
			return fp_os_error(error);
	}
	pthread_mutex_lock(&worker->peers.lock);
	before = fp_route_set(&worker->peers.routes, &worker->peers.grace,
			      (const uint8_t *)address, (size_t)size, length, peer, &failed);
	if (before != NULL)
		before->routes--;
	if (!failed)
		peer->routes++;
	pthread_mutex_unlock(&worker->peers.lock);
	if (failed)
		return PyErr_NoMemory();
	Py_RETURN_NONE;
}

PyObject *fp_python_remove_route(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = fp_worker_of(self);
	struct fp_peer *before;
	unsigned int length;
	const char *address;
	Py_ssize_t size;
	int error;

	if (worker == NULL || !PyArg_ParseTuple(args, "y#I", &address, &size, &length) ||
	    !prefix_of(address, size, length))
		return NULL;
	if (is_steering(worker)) {
		error = fp_unsteer(&worker->steering, (const uint8_t *)address, (size_t)size,
				   length);
		if (error != 0)
			return fp_os_error(error);
	}
	pthread_mutex_lock(&worker->peers.lock);
	before = fp_route_remove(&worker->peers.routes, &worker->peers.grace,
				 (const uint8_t *)address, (size_t)size, length);
	if (before != NULL)
		before->routes--;
	fp_grace_reap(&worker->peers.grace);
	pthread_mutex_unlock(&worker->peers.lock);
	Py_RETURN_NONE;
}

/* --- keys ---------------------------------------------------------------------------------- */

static PyObject *install(struct fp_worker *worker, struct fp_peer *peer, unsigned int slot,
			 struct fp_key *key)
{
	Py_BEGIN_ALLOW_THREADS
	fp_worker_install(worker, peer, slot, key);
	Py_END_ALLOW_THREADS
	Py_RETURN_NONE;
}

PyObject *fp_python_install_key(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = fp_worker_of(self);
	Py_ssize_t sizes[4], key_size, iv_size;
	unsigned int id, slot, key_id;
	unsigned long long usage, failures;
	struct fp_key_order order = { 0 };
	const char *cipher;
	struct fp_peer *peer;
	struct fp_key *key;
	int epoch;

	if (worker == NULL ||
	    !PyArg_ParseTuple(args, "IIIspKKy#y#y#y#", &id, &slot, &key_id, &cipher, &epoch, &usage,
			      &failures, &order.send_key, &sizes[0], &order.send_iv, &sizes[1],
			      &order.receive_key, &sizes[2], &order.receive_iv, &sizes[3]))
		return NULL;
	peer = peer_of(worker, id);
	if (peer == NULL)
		return NULL;
	order.aead = fp_crypto_find(cipher, ((WorkerObject *)self)->provider);
	if (order.aead == NULL)
		order.aead = fp_crypto_find(cipher, "");
	if (order.aead == NULL || slot >= FP_SLOTS || key_id >= FP_KEY_IDS)
		return fp_value_error("cipher, slot or key id");
	key_size = epoch ? FP_SECRET_SIZE : (Py_ssize_t)order.aead->key_size;
	iv_size = epoch ? 0 : IMPLICIT_IV;
	if (sizes[0] != key_size || sizes[2] != key_size || sizes[1] != iv_size ||
	    sizes[3] != iv_size)
		return fp_value_error("the size of a key or implicit IV");
	order.limits = (struct fp_key_limits){ usage, failures };
	order.epoch = epoch != 0;
	order.key_id = (uint8_t)key_id;
	order.send_id = atomic_load(&peer->spec.send_id);
	order.window = worker->window;
	order.window_milliseconds = worker->window_milliseconds;
	key = fp_key_new(&order);
	if (key == NULL)
		return PyErr_NoMemory();
	return install(worker, peer, slot, key);
}

PyObject *fp_python_drop_key(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = fp_worker_of(self);
	unsigned int id, slot;
	struct fp_peer *peer;

	if (worker == NULL || !PyArg_ParseTuple(args, "II", &id, &slot))
		return NULL;
	peer = peer_of(worker, id);
	if (peer == NULL)
		return NULL;
	if (slot >= FP_SLOTS)
		return fp_value_error("slot");
	return install(worker, peer, slot, NULL);
}

PyObject *fp_python_swap_keys(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = fp_worker_of(self);
	struct fp_peer *peer;
	unsigned int id;

	if (worker == NULL || !PyArg_ParseTuple(args, "I", &id))
		return NULL;
	peer = peer_of(worker, id);
	if (peer == NULL)
		return NULL;
	pthread_mutex_lock(&worker->peers.lock);
	fp_peer_swap(peer);
	pthread_mutex_unlock(&worker->peers.lock);
	Py_RETURN_NONE;
}

PyObject *fp_python_keys(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = fp_worker_of(self);
	struct fp_peer *peer;
	unsigned int id;
	int ids[FP_SLOTS];

	if (worker == NULL || !PyArg_ParseTuple(args, "I", &id))
		return NULL;
	peer = peer_of(worker, id);
	if (peer == NULL)
		return NULL;
	for (int slot = 0; slot < FP_SLOTS; slot++)
		ids[slot] = peer->slots[slot] == NULL ? -1 : peer->slots[slot]->key_id;
	return Py_BuildValue("ii", ids[0], ids[1]);
}

PyObject *fp_python_send_exit(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = fp_worker_of(self);
	struct fp_peer *peer;
	unsigned int id;

	if (worker == NULL || !PyArg_ParseTuple(args, "I", &id))
		return NULL;
	peer = peer_of(worker, id);
	if (peer == NULL)
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	fp_worker_send_exit(worker, peer);
	Py_END_ALLOW_THREADS
	Py_RETURN_NONE;
}
