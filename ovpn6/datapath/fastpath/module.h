/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of the Python module share. */
#ifndef OVPN6_FASTPATH_MODULE_H
#define OVPN6_FASTPATH_MODULE_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>

#include <stdbool.h>

#include "worker.h"

typedef struct {
	PyObject_HEAD
	struct fp_worker *worker;
	char provider[16];
	bool segment;
} WorkerObject;

/**
 * fp_worker_of() - the worker of a Worker; NULL with an exception when it is closed
 */
struct fp_worker *fp_worker_of(PyObject *self);

/**
 * fp_link_of() - a link by its id; NULL with an exception
 */
struct fp_link *fp_link_of(struct fp_worker *worker, unsigned int id);

/**
 * fp_os_error() - raise an OSError
 *
 * Return: NULL.
 */
PyObject *fp_os_error(int error);

/**
 * fp_value_error() - raise a ValueError
 *
 * Return: NULL.
 */
PyObject *fp_value_error(const char *text);

/* Methods about peers, prefixes and keys (module_peers.c); _fastpath.pyi describes them. */
PyObject *fp_python_add_peer(PyObject *self, PyObject *args);
PyObject *fp_python_set_peer(PyObject *self, PyObject *args);
PyObject *fp_python_place_peer(PyObject *self, PyObject *args);
PyObject *fp_python_unplace_peer(PyObject *self, PyObject *args);
PyObject *fp_python_counters(PyObject *self, PyObject *args);
PyObject *fp_python_remove_peer(PyObject *self, PyObject *args);
PyObject *fp_python_set_route(PyObject *self, PyObject *args);
PyObject *fp_python_remove_route(PyObject *self, PyObject *args);
PyObject *fp_python_install_key(PyObject *self, PyObject *args);
PyObject *fp_python_drop_key(PyObject *self, PyObject *args);
PyObject *fp_python_swap_keys(PyObject *self, PyObject *args);
PyObject *fp_python_keys(PyObject *self, PyObject *args);
PyObject *fp_python_send_exit(PyObject *self, PyObject *args);

#endif
