// SPDX-License-Identifier: Apache-2.0
/*
 * The Python module: checks what it is given, and hands it to the worker. Its types are described in
 * _fastpath.pyi. Only one Python thread uses a Worker.
 */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "crypto.h"
#include "udp.h"
#include "worker.h"

#define IMPLICIT_IV 8
#define MOST_REPORTS 64
#define MOST_REPORT_DATA 4096

typedef struct {
	PyObject_HEAD
	struct fp_worker *worker;
	char provider[16];
	bool segment;
} WorkerObject;

static struct fp_worker *worker_of(PyObject *self)
{
	struct fp_worker *worker = ((WorkerObject *)self)->worker;

	if (worker == NULL)
		PyErr_SetString(PyExc_ValueError, "the worker is closed");
	return worker;
}

static PyObject *os_error(int error)
{
	errno = error;
	return PyErr_SetFromErrno(PyExc_OSError);
}

static PyObject *value_error(const char *text)
{
	PyErr_SetString(PyExc_ValueError, text);
	return NULL;
}

static struct fp_peer *peer_of(struct fp_worker *worker, unsigned int id)
{
	struct fp_peer *peer = fp_peer_find(&worker->peers, id);

	if (peer == NULL)
		PyErr_Format(PyExc_KeyError, "no peer %u", id);
	return peer;
}

static struct fp_link *link_of(struct fp_worker *worker, unsigned int id)
{
	struct fp_link *link = fp_map_find(&worker->links, &id);

	if (link == NULL)
		PyErr_Format(PyExc_KeyError, "no link %u", id);
	return link;
}

/* --- life ---------------------------------------------------------------------------------- */

static int worker_init(PyObject *self, PyObject *args, PyObject *keywords)
{
	static char *names[] = { "window", "window_milliseconds", "provider", "segment", "copy_dscp", NULL };
	WorkerObject *object = (WorkerObject *)self;
	const char *provider = "";
	unsigned int window, milliseconds;
	int segment = 1, copy_dscp = 0, error;

	if (!PyArg_ParseTupleAndKeywords(args, keywords, "II|spp", names, &window, &milliseconds,
					 &provider, &segment, &copy_dscp))
		return -1;
	if (object->worker != NULL || window > FP_REPLAY_MOST ||
	    strlen(provider) >= sizeof(object->provider)) {
		value_error("arguments of a worker");
		return -1;
	}
	strcpy(object->provider, provider);
	object->segment = segment != 0;
	object->worker = fp_worker_new(window, milliseconds, copy_dscp != 0, &error);
	if (object->worker != NULL)
		return 0;
	os_error(error);
	return -1;
}

static void stop(WorkerObject *object)
{
	struct fp_worker *worker = object->worker;

	object->worker = NULL;
	if (worker == NULL)
		return;
	Py_BEGIN_ALLOW_THREADS
	fp_worker_free(worker);
	Py_END_ALLOW_THREADS
}

static void worker_dealloc(PyObject *self)
{
	PyTypeObject *type = Py_TYPE(self);

	stop((WorkerObject *)self);
	PyObject_Free(self);
	Py_DECREF(type);
}

static PyObject *worker_close(PyObject *self, PyObject *args)
{
	(void)args;
	stop((WorkerObject *)self);
	Py_RETURN_NONE;
}

static PyObject *worker_fileno(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = worker_of(self);

	(void)args;
	return worker == NULL ? NULL : PyLong_FromLong(worker->queue.event);
}

static PyObject *worker_set_tunnel(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = worker_of(self);
	struct fp_tunnel tunnel;
	int vnet, udp, error;

	if (worker == NULL || !PyArg_ParseTuple(args, "ipp", &tunnel.descriptor, &vnet, &udp))
		return NULL;
	tunnel.vnet = vnet != 0;
	tunnel.udp = udp != 0;
	Py_BEGIN_ALLOW_THREADS
	error = fp_worker_set_tunnel(worker, &tunnel);
	Py_END_ALLOW_THREADS
	if (error != 0)
		return os_error(error);
	Py_RETURN_NONE;
}

/* --- links --------------------------------------------------------------------------------- */

static PyObject *add_link(struct fp_worker *worker, struct fp_link *link)
{
	int error;

	Py_BEGIN_ALLOW_THREADS
	error = fp_worker_add_link(worker, link);
	if (error != 0)
		fp_link_free(link);
	Py_END_ALLOW_THREADS
	if (error != 0)
		return os_error(error);
	Py_RETURN_NONE;
}

static struct fp_link *new_link(struct fp_worker *worker, unsigned int id, int descriptor)
{
	struct fp_link *link;

	if (id == FP_NO_LINK || descriptor < 0 || fp_map_find(&worker->links, &id) != NULL) {
		value_error("a link with a new id and a descriptor");
		return NULL;
	}
	link = fp_link_new(id, descriptor, &worker->queue);
	if (link == NULL)
		PyErr_NoMemory();
	return link;
}

static PyObject *worker_add_udp(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = worker_of(self);
	int descriptor, family, multihome;
	struct fp_link *link;
	unsigned int id;

	if (worker == NULL ||
	    !PyArg_ParseTuple(args, "Iiip", &id, &descriptor, &family, &multihome))
		return NULL;
	if (family != AF_INET && family != AF_INET6)
		return value_error("the family of a UDP link");
	link = new_link(worker, id, descriptor);
	if (link == NULL)
		return NULL;
	link->family = family;
	link->multihome = multihome != 0;
	atomic_store(&link->segment, ((WorkerObject *)self)->segment);
	if (!fp_udp_has_trains(descriptor))
		fp_udp_give_up_trains(link, ENOPROTOOPT);
	return add_link(worker, link);
}

static PyObject *worker_add_stream(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = worker_of(self);
	unsigned int id, most;
	struct fp_link *link;
	int descriptor;

	if (worker == NULL || !PyArg_ParseTuple(args, "IiI", &id, &descriptor, &most))
		return NULL;
	if (most < 1 || most > UINT16_MAX)
		return value_error("the longest frame of a stream");
	link = new_link(worker, id, descriptor);
	if (link == NULL)
		return NULL;
	link->stream = true;
	link->frame_most = most;
	return add_link(worker, link);
}

static PyObject *worker_remove_link(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = worker_of(self);
	struct fp_link *link;
	unsigned int id;

	if (worker == NULL || !PyArg_ParseTuple(args, "I", &id))
		return NULL;
	link = link_of(worker, id);
	if (link == NULL)
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	fp_worker_remove_link(worker, link);
	Py_END_ALLOW_THREADS
	Py_RETURN_NONE;
}

static PyObject *worker_send_stream(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = worker_of(self);
	struct fp_train train = { .count = 1 };
	struct fp_link *link;
	const char *octets;
	Py_ssize_t length;
	unsigned int id;

	if (worker == NULL || !PyArg_ParseTuple(args, "Iy#", &id, &octets, &length))
		return NULL;
	link = link_of(worker, id);
	if (link == NULL)
		return NULL;
	if (!link->stream || length < 1 || length > UINT16_MAX)
		return value_error("a datagram for a stream");
	train.octets = (const uint8_t *)octets;
	train.length = train.size = (size_t)length;
	fp_link_send(link, NULL, &train, &worker->control_counts);
	Py_RETURN_NONE;
}

/* --- peers --------------------------------------------------------------------------------- */

static PyObject *worker_add_peer(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = worker_of(self);
	struct fp_peer *peer;
	unsigned int id;
	int error;

	if (worker == NULL || !PyArg_ParseTuple(args, "I", &id))
		return NULL;
	if (id > 0xffffff)
		return value_error("a peer id has 24 bits");
	pthread_mutex_lock(&worker->peers.lock);
	error = fp_peer_add(&worker->peers, id, &peer);
	pthread_mutex_unlock(&worker->peers.lock);
	if (error != 0)
		return os_error(error);
	Py_RETURN_NONE;
}

static PyObject *worker_set_peer(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = worker_of(self);
	unsigned int id, send_id, interval, timeout, framing, inactive_after;
	unsigned long long inactive_octets;
	struct fp_peer *peer;
	int float_allowed, copy_ecn;

	if (worker == NULL ||
	    !PyArg_ParseTuple(args, "IIIIIpIKp", &id, &send_id, &interval, &timeout, &framing,
			      &float_allowed, &inactive_after, &inactive_octets, &copy_ecn))
		return NULL;
	if (send_id > 0xffffff || framing > FP_FRAMING_STUB_V2)
		return value_error("a peer's send id or framing");
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

static PyObject *worker_place_peer(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = worker_of(self);
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
	link = peer == NULL ? NULL : link_of(worker, link_id);
	if (link == NULL)
		return NULL;
	if ((size_t)size != (link->stream ? 0 : fp_address_size(link)))
		return value_error("an address of the link's family");
	if (local_size != 0 && (!link->multihome || local_size != (link->family == AF_INET ? 4 : 16)))
		return value_error("a local address of a multihomed link");
	key.link = link_id;
	memcpy(key.address, address, (size_t)size);
	pthread_mutex_lock(&worker->peers.lock);
	done = fp_peer_place(&worker->peers, peer, link, &key, (const uint8_t *)local,
			     (uint32_t)local_size);
	pthread_mutex_unlock(&worker->peers.lock);
	if (!done)
		return PyErr_NoMemory();
	Py_RETURN_NONE;
}

static PyObject *worker_unplace_peer(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = worker_of(self);
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

static PyObject *worker_counters(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = worker_of(self);
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

static PyObject *worker_remove_peer(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = worker_of(self);
	struct fp_tally copies[2];
	struct fp_peer *peer, gone = { 0 };
	unsigned int id;

	if (worker == NULL || !PyArg_ParseTuple(args, "I", &id))
		return NULL;
	peer = peer_of(worker, id);
	if (peer == NULL)
		return NULL;
	if (peer->routes != 0)
		return value_error("prefixes still lead to the peer");
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
		value_error("a prefix");
	return lawful;
}

static PyObject *worker_set_route(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = worker_of(self);
	struct fp_peer *peer, *before;
	unsigned int length, id;
	const char *address;
	Py_ssize_t size;
	bool failed;

	if (worker == NULL || !PyArg_ParseTuple(args, "y#II", &address, &size, &length, &id) ||
	    !prefix_of(address, size, length))
		return NULL;
	peer = peer_of(worker, id);
	if (peer == NULL)
		return NULL;
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

static PyObject *worker_remove_route(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = worker_of(self);
	struct fp_peer *before;
	unsigned int length;
	const char *address;
	Py_ssize_t size;

	if (worker == NULL || !PyArg_ParseTuple(args, "y#I", &address, &size, &length) ||
	    !prefix_of(address, size, length))
		return NULL;
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

static PyObject *worker_install_key(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = worker_of(self);
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
		return value_error("cipher, slot or key id");
	key_size = epoch ? FP_SECRET_SIZE : (Py_ssize_t)order.aead->key_size;
	iv_size = epoch ? 0 : IMPLICIT_IV;
	if (sizes[0] != key_size || sizes[2] != key_size || sizes[1] != iv_size ||
	    sizes[3] != iv_size)
		return value_error("the size of a key or implicit IV");
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

static PyObject *worker_drop_key(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = worker_of(self);
	unsigned int id, slot;
	struct fp_peer *peer;

	if (worker == NULL || !PyArg_ParseTuple(args, "II", &id, &slot))
		return NULL;
	peer = peer_of(worker, id);
	if (peer == NULL)
		return NULL;
	if (slot >= FP_SLOTS)
		return value_error("slot");
	return install(worker, peer, slot, NULL);
}

static PyObject *worker_swap_keys(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = worker_of(self);
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

static PyObject *worker_keys(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = worker_of(self);
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

static PyObject *worker_send_exit(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = worker_of(self);
	unsigned int id;

	if (worker == NULL || !PyArg_ParseTuple(args, "I", &id) || peer_of(worker, id) == NULL)
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	fp_worker_send_exit(worker, id);
	Py_END_ALLOW_THREADS
	Py_RETURN_NONE;
}

/* --- what happened ------------------------------------------------------------------------- */

static PyObject *report_tuple(const struct fp_report *report, const uint8_t *data,
			      Py_ssize_t length)
{
	return Py_BuildValue("IIIIiy#y#y#", report->kind, report->link, report->peer,
			     report->other, report->value, (const char *)report->address,
			     (Py_ssize_t)FP_ADDRESS_SIZE, (const char *)report->local,
			     (Py_ssize_t)report->local_size, (const char *)data, length);
}

static PyObject *worker_reports(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = worker_of(self);
	uint8_t data[MOST_REPORT_DATA];
	PyObject *list;

	(void)args;
	if (worker == NULL)
		return NULL;
	list = PyList_New(0);
	for (int i = 0; list != NULL && i < MOST_REPORTS; i++) {
		struct fp_report report;
		ptrdiff_t length = fp_queue_pop(&worker->queue, &report, data, sizeof(data));
		PyObject *tuple;

		if (length < 0)
			break;
		tuple = report_tuple(&report, data, length);
		if (tuple == NULL || PyList_Append(list, tuple) != 0)
			Py_CLEAR(list);
		Py_XDECREF(tuple);
	}
	return list;
}

static bool add_count(PyObject *counts, PyObject *name, uint64_t number)
{
	PyObject *value = name == NULL ? NULL : PyLong_FromUnsignedLongLong(number);
	bool done = value != NULL && PyDict_SetItem(counts, name, value) == 0;

	Py_XDECREF(name);
	Py_XDECREF(value);
	return done;
}

static PyObject *worker_drops(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = worker_of(self);
	PyObject *counts;

	(void)args;
	if (worker == NULL)
		return NULL;
	counts = PyDict_New();
	for (int reason = 0; counts != NULL && reason < FP_DROPS; reason++) {
		uint64_t number = 0;

		for (unsigned int writer = 0; writer < 3; writer++)
			number += fp_read(&fp_worker_counts(worker, writer)->drops[reason]);
		if (number != 0 &&
		    !add_count(counts, PyUnicode_FromString(fp_drop_names[reason]), number))
			Py_CLEAR(counts);
	}
	return counts;
}

static PyObject *worker_errors(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = worker_of(self);
	PyObject *counts;

	(void)args;
	if (worker == NULL)
		return NULL;
	counts = PyDict_New();
	for (int at = 0; counts != NULL && at < FP_CALLS * FP_ERRNOS; at++) {
		int call = at / FP_ERRNOS, error = at % FP_ERRNOS;
		uint64_t number = 0;

		for (unsigned int writer = 0; writer < 3; writer++)
			number += fp_read(&fp_worker_counts(worker, writer)->errors[call][error]);
		if (number != 0 &&
		    !add_count(counts, Py_BuildValue("si", fp_call_names[call], error), number))
			Py_CLEAR(counts);
	}
	return counts;
}

/* --- the module ---------------------------------------------------------------------------- */

static PyObject *module_describe(PyObject *self, PyObject *args)
{
	const char *cipher, *provider = "", *text;

	(void)self;
	if (!PyArg_ParseTuple(args, "s|s", &cipher, &provider))
		return NULL;
	text = fp_crypto_describe(cipher, provider);
	if (text == NULL)
		Py_RETURN_NONE;
	return PyUnicode_FromString(text);
}

static PyMethodDef worker_methods[] = {
	{ "close", worker_close, METH_NOARGS, NULL },
	{ "fileno", worker_fileno, METH_NOARGS, NULL },
	{ "set_tunnel", worker_set_tunnel, METH_VARARGS, NULL },
	{ "add_udp", worker_add_udp, METH_VARARGS, NULL },
	{ "add_stream", worker_add_stream, METH_VARARGS, NULL },
	{ "remove_link", worker_remove_link, METH_VARARGS, NULL },
	{ "send_stream", worker_send_stream, METH_VARARGS, NULL },
	{ "add_peer", worker_add_peer, METH_VARARGS, NULL },
	{ "set_peer", worker_set_peer, METH_VARARGS, NULL },
	{ "place_peer", worker_place_peer, METH_VARARGS, NULL },
	{ "unplace_peer", worker_unplace_peer, METH_VARARGS, NULL },
	{ "remove_peer", worker_remove_peer, METH_VARARGS, NULL },
	{ "counters", worker_counters, METH_VARARGS, NULL },
	{ "set_route", worker_set_route, METH_VARARGS, NULL },
	{ "remove_route", worker_remove_route, METH_VARARGS, NULL },
	{ "install_key", worker_install_key, METH_VARARGS, NULL },
	{ "drop_key", worker_drop_key, METH_VARARGS, NULL },
	{ "swap_keys", worker_swap_keys, METH_VARARGS, NULL },
	{ "keys", worker_keys, METH_VARARGS, NULL },
	{ "send_exit", worker_send_exit, METH_VARARGS, NULL },
	{ "reports", worker_reports, METH_NOARGS, NULL },
	{ "drops", worker_drops, METH_NOARGS, NULL },
	{ "errors", worker_errors, METH_NOARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyType_Slot worker_slots[] = {
	{ Py_tp_new, PyType_GenericNew },
	{ Py_tp_init, worker_init },
	{ Py_tp_dealloc, worker_dealloc },
	{ Py_tp_methods, worker_methods },
	{ 0, NULL },
};

static PyType_Spec worker_spec = {
	.name = "ovpn6.datapath.fastpath._fastpath.Worker",
	.basicsize = sizeof(WorkerObject),
	.flags = Py_TPFLAGS_DEFAULT,
	.slots = worker_slots,
};

static PyMethodDef module_methods[] = {
	{ "describe_crypto", module_describe, METH_VARARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static int module_exec(PyObject *module)
{
	PyObject *type = PyType_FromModuleAndSpec(module, &worker_spec, NULL);
	int result = type == NULL ? -1 : PyModule_AddObjectRef(module, "Worker", type);

	Py_XDECREF(type);
	return result;
}

static PyModuleDef_Slot module_slots[] = {
	{ Py_mod_exec, module_exec },
	{ 0, NULL },
};

static struct PyModuleDef definition = {
	PyModuleDef_HEAD_INIT,
	.m_name = "_fastpath",
	.m_methods = module_methods,
	.m_slots = module_slots,
};

__attribute__((visibility("default"))) PyMODINIT_FUNC PyInit__fastpath(void)
{
	return PyModuleDef_Init(&definition);
}
