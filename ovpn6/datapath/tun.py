"""The tunnel device through ``/dev/net/tun``: IP packets, with a vnet header where it is asked for.

Knows no addresses, routes or MTU: those are host state (netconf).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ovpn6.datapath.errors import host_error
from ovpn6.datapath.tun_offload import IFF_VNET_HDR
from ovpn6.model.errors import HostError
from ovpn6.model.specs import DeviceSpec

NETNS_DIRECTORY = Path("/run/netns")

TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
IFF_MULTI_QUEUE = 0x0100
TUNSETSTEERINGEBPF = 0x800454E0
SIOCSIFTXQLEN = 0x8943
CLONE_NEWNET = 0x40000000

_IFREQ_FLAGS = struct.Struct("16sH22x")
_INT = struct.Struct("=i")
_IFREQ_VALUE = struct.Struct("16si20x")
_MAX_NAME = 15

_T = TypeVar("_T")


def open_tun(spec: DeviceSpec, vnet: bool) -> tuple[int, str]:
    """A non-blocking descriptor of the device and its real name.

    The name ``tun`` takes the first free ``tunN``. The device goes when the descriptor is closed,
    unless it is persistent. ``vnet``: a vnet header before each packet. Raises ``HostError``.
    """
    if len(spec.name.encode()) > _MAX_NAME:
        raise HostError(f"open device {spec.name}", f"names have at most {_MAX_NAME} bytes")
    if spec.netns:
        return in_netns(spec.netns, lambda: _open_here(spec, vnet))
    return _open_here(spec, vnet)


def open_tun_queues(
    spec: DeviceSpec, vnet: bool, count: int, program: int
) -> tuple[tuple[int, ...], str]:
    """As :func:`open_tun`, with several queues and a descriptor for each.

    ``program``: a BPF program that says into which queue a packet goes. ``HostError`` also for a
    persistent device that was made with one queue.
    """
    if len(spec.name.encode()) > _MAX_NAME:
        raise HostError(f"open device {spec.name}", f"names have at most {_MAX_NAME} bytes")
    if spec.netns:
        return in_netns(spec.netns, lambda: _open_queues_here(spec, vnet, count, program))
    return _open_queues_here(spec, vnet, count, program)


def in_netns(name: str, act: Callable[[], _T]) -> _T:
    """Call ``act`` in the network namespace ``name``, in a thread that ends with it.

    Only the thread changes its namespace. Raises ``HostError`` and whatever ``act`` raises.
    """
    outcome: list[_T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            _enter_netns(name)
            outcome.append(act())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name=f"netns {name}")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def _enter_netns(name: str) -> None:
    what = f"enter network namespace {name}"
    try:
        descriptor = os.open(NETNS_DIRECTORY / name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise host_error(what, error) from None
    try:
        # os.setns came with Python 3.12.
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise HostError(what, os.strerror(number), number)
    finally:
        os.close(descriptor)


def _open_queues_here(
    spec: DeviceSpec, vnet: bool, count: int, program: int
) -> tuple[tuple[int, ...], str]:
    first, name = _open_here(spec, vnet, IFF_MULTI_QUEUE)
    descriptors = [first]
    try:
        while len(descriptors) < count:
            descriptors.append(_open_here(DeviceSpec(name), vnet, IFF_MULTI_QUEUE)[0])
        fcntl.ioctl(first, TUNSETSTEERINGEBPF, _INT.pack(program))
    except (OSError, HostError) as error:
        for descriptor in descriptors:
            os.close(descriptor)
        if isinstance(error, HostError):
            raise
        raise host_error(f"steer packets to the queues of {name}", error) from None
    return tuple(descriptors), name


def _open_here(spec: DeviceSpec, vnet: bool, more: int = 0) -> tuple[int, str]:
    pattern = "tun%d" if spec.name == "tun" else spec.name
    what = "open /dev/net/tun"
    try:
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise host_error(what, error) from None
    try:
        what = f"make device {spec.name}"
        flags = IFF_TUN | IFF_NO_PI | (IFF_VNET_HDR if vnet else 0) | more
        request = _IFREQ_FLAGS.pack(pattern.encode(), flags)
        answer = fcntl.ioctl(descriptor, TUNSETIFF, request)
        name = answer[:16].rstrip(b"\0").decode()
        if spec.txqueuelen:
            what = f"set txqueuelen of {name}"
            _set_queue_length(name, spec.txqueuelen)
    except OSError as error:
        os.close(descriptor)
        raise host_error(what, error) from None
    return descriptor, name


def _set_queue_length(name: str, length: int) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        fcntl.ioctl(sock, SIOCSIFTXQLEN, _IFREQ_VALUE.pack(name.encode(), length))
