// SPDX-License-Identifier: Apache-2.0
/*
 * The Python module: checks what it is given, and hands it to the worker. Its types are described
 * in _fastpath.pyi. Only one Python thread uses a Worker.
 */

#include "module.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "crypto.h"
#include "opened.h"
#include "udp.h"

#define MOST_REPORTS 64

struct fp_worker *fp_worker_of(PyObject *self)
{
	struct fp_worker *worker = ((WorkerObject *)self)->worker;

	if (worker == NULL)
		PyErr_SetString(PyExc_ValueError, "the worker is closed");
	return worker;
}

PyObject *fp_os_error(int error)
{
	errno = error;
	return PyErr_SetFromErrno(PyExc_OSError);
}

PyObject *fp_value_error(const char *text)
{
	PyErr_SetString(PyExc_ValueError, text);
	return NULL;
}

struct fp_link *fp_link_of(struct fp_worker *worker, unsigned int id)
{
	struct fp_link *link = fp_map_find(&worker->links, &id);

	if (link == NULL)
		PyErr_Format(PyExc_KeyError, "no link %u", id);
	return link;
}

/* --- life ---------------------------------------------------------------------------------- */

static int worker_init(PyObject *self, PyObject *args, PyObject *keywords)
{
	static char *names[] = { "window",  "window_milliseconds", "provider",
				 "segment", "copy_dscp",	   "flow_secret",
				 "single",  "lanes",		   NULL };
	WorkerObject *object = (WorkerObject *)self;
	const char *provider = "", *secret = NULL;
	int segment = 1, copy_dscp = 0, single = 0, error;
	unsigned int lanes = 1;
	struct fp_worker_settings settings;
	Py_ssize_t secret_size = 0;

	if (!PyArg_ParseTupleAndKeywords(args, keywords, "II|sppy#pI", names, &settings.window,
					 &settings.window_milliseconds, &provider, &segment,
					 &copy_dscp, &secret, &secret_size, &single, &lanes))
		return -1;
	if (object->worker != NULL || settings.window > FP_REPLAY_MOST ||
	    strlen(provider) >= sizeof(object->provider) || lanes < 1 || lanes > FP_LANES ||
	    (secret_size != 0 && secret_size != OVPN6_FLOW_SECRET)) {
		fp_value_error("arguments of a worker");
		return -1;
	}
	strcpy(object->provider, provider);
	object->segment = segment != 0;
	settings.copy_dscp = copy_dscp != 0;
	settings.single = single != 0;
	settings.lanes = lanes;
	settings.flow_secret = secret_size == 0 ? NULL : (const uint8_t *)secret;
	object->worker = fp_worker_new(&settings, &error);
	if (object->worker != NULL)
		return 0;
	fp_os_error(error);
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
	struct fp_worker *worker = fp_worker_of(self);

	(void)args;
	return worker == NULL ? NULL : PyLong_FromLong(worker->queue.event);
}

/* Up to FP_LANES descriptors out of a sequence; their number, -1 with an exception. */
static int take_descriptors(PyObject *sequence, int *descriptors)
{
	Py_ssize_t count = PySequence_Size(sequence);

	if (count > FP_LANES)
		fp_value_error("so many lanes");
	if (count < 0 || count > FP_LANES)
		return -1;
	for (Py_ssize_t i = 0; i < count; i++) {
		PyObject *item = PySequence_GetItem(sequence, i);
		long value = item == NULL ? -1 : PyLong_AsLong(item);

		Py_XDECREF(item);
		if (PyErr_Occurred())
			return -1;
		if (value < 0 || value > INT_MAX) {
			fp_value_error("a descriptor");
			return -1;
		}
		descriptors[i] = (int)value;
	}
	return (int)count;
}

static PyObject *worker_set_tunnel(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = fp_worker_of(self);
	struct fp_tunnel tunnels[FP_LANES];
	int descriptors[FP_LANES];
	int vnet, udp, count, error;
	PyObject *queues;

	if (worker == NULL || !PyArg_ParseTuple(args, "Opp", &queues, &vnet, &udp))
		return NULL;
	count = take_descriptors(queues, descriptors);
	if (count < 0)
		return NULL;
	if (count != 0 && (uint32_t)count != worker->peers.lanes)
		return fp_value_error("a queue of the tunnel for each lane, or none");
	for (int i = 0; i < count; i++)
		tunnels[i] = (struct fp_tunnel){ descriptors[i], vnet != 0, udp != 0 };
	Py_BEGIN_ALLOW_THREADS
	error = fp_worker_set_tunnel(worker, tunnels, (uint32_t)count);
	Py_END_ALLOW_THREADS
	if (error != 0)
		return fp_os_error(error);
	Py_RETURN_NONE;
}

/* --- lanes --------------------------------------------------------------------------------- */

static PyObject *worker_steer(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = fp_worker_of(self);
	int error;

	(void)args;
	if (worker == NULL)
		return NULL;
	fp_steering_close(&worker->steering);
	error = fp_steering_open(&worker->steering);
	if (error != 0)
		return fp_os_error(error);
	return PyLong_FromLong(worker->steering.program);
}

static PyObject *worker_gather(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = fp_worker_of(self);

	(void)args;
	if (worker == NULL)
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	fp_worker_gather(worker);
	Py_END_ALLOW_THREADS
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
		return fp_os_error(error);
	Py_RETURN_NONE;
}

static struct fp_link *new_link(struct fp_worker *worker, unsigned int id, const int *sockets,
				uint32_t count)
{
	struct fp_link *link;

	if (id >= FP_TUNNEL_EVENT || fp_map_find(&worker->links, &id) != NULL) {
		fp_value_error("a link with a new id");
		return NULL;
	}
	link = fp_link_new(id, sockets, count, &worker->queue);
	if (link == NULL)
		PyErr_NoMemory();
	return link;
}

static PyObject *worker_add_udp(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = fp_worker_of(self);
	int sockets[FP_LANES], count, family, multihome;
	struct fp_link *link;
	PyObject *sequence;
	unsigned int id;

	if (worker == NULL || !PyArg_ParseTuple(args, "IOip", &id, &sequence, &family, &multihome))
		return NULL;
	count = take_descriptors(sequence, sockets);
	if (count < 0)
		return NULL;
	if ((uint32_t)count != worker->peers.lanes)
		return fp_value_error("a socket for each lane");
	if (family != AF_INET && family != AF_INET6)
		return fp_value_error("the family of a UDP link");
	link = new_link(worker, id, sockets, (uint32_t)count);
	if (link == NULL)
		return NULL;
	link->family = family;
	link->multihome = multihome != 0;
	atomic_store(&link->segment, ((WorkerObject *)self)->segment);
	atomic_store(&link->label, true);
	if (!fp_udp_has_trains(sockets[0]))
		fp_udp_give_up_trains(link, ENOPROTOOPT);
	return add_link(worker, link);
}

static PyObject *worker_add_stream(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = fp_worker_of(self);
	unsigned int id, most;
	struct fp_link *link;
	int descriptor;

	if (worker == NULL || !PyArg_ParseTuple(args, "IiI", &id, &descriptor, &most))
		return NULL;
	if (descriptor < 0 || most < 1 || most > UINT16_MAX)
		return fp_value_error("a descriptor and the longest frame of a stream");
	link = new_link(worker, id, &descriptor, 1);
	if (link == NULL)
		return NULL;
	link->stream = true;
	link->frame_most = most;
	return add_link(worker, link);
}

static PyObject *worker_remove_link(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = fp_worker_of(self);
	struct fp_link *link;
	unsigned int id;

	if (worker == NULL || !PyArg_ParseTuple(args, "I", &id))
		return NULL;
	link = fp_link_of(worker, id);
	if (link == NULL)
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	fp_worker_remove_link(worker, link);
	Py_END_ALLOW_THREADS
	Py_RETURN_NONE;
}

static PyObject *worker_send_stream(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = fp_worker_of(self);
	struct fp_train train = { .count = 1 };
	struct fp_link *link;
	const char *octets;
	Py_ssize_t length;
	unsigned int id;

	if (worker == NULL || !PyArg_ParseTuple(args, "Iy#", &id, &octets, &length))
		return NULL;
	link = fp_link_of(worker, id);
	if (link == NULL)
		return NULL;
	if (!link->stream || length < 1 || length > UINT16_MAX)
		return fp_value_error("a datagram for a stream");
	train.octets = (const uint8_t *)octets;
	train.length = train.size = (size_t)length;
	fp_link_send(link, 0, NULL, &train, &worker->control_counts);
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
	struct fp_worker *worker = fp_worker_of(self);
	uint8_t data[FP_MOST_CONTROL];
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
	struct fp_worker *worker = fp_worker_of(self);
	PyObject *counts;

	(void)args;
	if (worker == NULL)
		return NULL;
	counts = PyDict_New();
	for (int reason = 0; counts != NULL && reason < FP_DROPS; reason++) {
		uint64_t number = 0;

		for (unsigned int writer = 0; writer < fp_worker_writers(worker); writer++)
			number += fp_read(&fp_worker_counts(worker, writer)->drops[reason]);
		if (number != 0 &&
		    !add_count(counts, PyUnicode_FromString(fp_drop_names[reason]), number))
			Py_CLEAR(counts);
	}
	return counts;
}

static PyObject *worker_lanes(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = fp_worker_of(self);
	PyObject *list;

	(void)args;
	if (worker == NULL)
		return NULL;
	list = PyList_New(0);
	for (unsigned int lane = 0; list != NULL && lane < worker->count; lane++) {
		const struct fp_counts *sent = fp_worker_counts(worker, 2 * lane);
		const struct fp_counts *received = fp_worker_counts(worker, 2 * lane + 1);
		PyObject *both = Py_BuildValue("KK", (unsigned long long)fp_read(&received->datagrams),
					       (unsigned long long)fp_read(&sent->datagrams));

		if (both == NULL || PyList_Append(list, both) != 0)
			Py_CLEAR(list);
		Py_XDECREF(both);
	}
	return list;
}

static PyObject *worker_errors(PyObject *self, PyObject *args)
{
	struct fp_worker *worker = fp_worker_of(self);
	PyObject *counts;

	(void)args;
	if (worker == NULL)
		return NULL;
	counts = PyDict_New();
	for (int at = 0; counts != NULL && at < FP_CALLS * FP_ERRNOS; at++) {
		int call = at / FP_ERRNOS, error = at % FP_ERRNOS;
		uint64_t number = 0;

		for (unsigned int writer = 0; writer < fp_worker_writers(worker); writer++)
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
	{ "steer", worker_steer, METH_NOARGS, NULL },
	{ "gather", worker_gather, METH_NOARGS, NULL },
	{ "add_udp", worker_add_udp, METH_VARARGS, NULL },
	{ "add_stream", worker_add_stream, METH_VARARGS, NULL },
	{ "remove_link", worker_remove_link, METH_VARARGS, NULL },
	{ "send_stream", worker_send_stream, METH_VARARGS, NULL },
	{ "add_peer", fp_python_add_peer, METH_VARARGS, NULL },
	{ "set_peer", fp_python_set_peer, METH_VARARGS, NULL },
	{ "place_peer", fp_python_place_peer, METH_VARARGS, NULL },
	{ "unplace_peer", fp_python_unplace_peer, METH_VARARGS, NULL },
	{ "remove_peer", fp_python_remove_peer, METH_VARARGS, NULL },
	{ "counters", fp_python_counters, METH_VARARGS, NULL },
	{ "set_route", fp_python_set_route, METH_VARARGS, NULL },
	{ "remove_route", fp_python_remove_route, METH_VARARGS, NULL },
	{ "install_key", fp_python_install_key, METH_VARARGS, NULL },
	{ "drop_key", fp_python_drop_key, METH_VARARGS, NULL },
	{ "swap_keys", fp_python_swap_keys, METH_VARARGS, NULL },
	{ "keys", fp_python_keys, METH_VARARGS, NULL },
	{ "send_exit", fp_python_send_exit, METH_VARARGS, NULL },
	{ "reports", worker_reports, METH_NOARGS, NULL },
	{ "lanes", worker_lanes, METH_NOARGS, NULL },
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
