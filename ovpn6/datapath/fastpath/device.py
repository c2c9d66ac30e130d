"""The tunnel device as the native worker uses it: with vnet headers where the kernel has them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection

from ovpn6.datapath.errors import host_error
from ovpn6.datapath.offload.switch import Offload
from ovpn6.datapath.tun_offload import disable_offloads, enable_offloads, has_vnet
from ovpn6.model.records import dataclass, replace
from ovpn6.model.specs import DeviceSpec

log = logging.getLogger("ovpn6.datapath")

OpenDevice = Callable[[DeviceSpec, bool], tuple[int, str]]
"""Opens a device: a descriptor and a name. The second argument asks for vnet headers."""
OpenQueues = Callable[[DeviceSpec, bool, int, int], tuple[tuple[int, ...], str]]
"""The same with so many queues, a descriptor each, to which a BPF program steers."""


@dataclass(frozen=True, slots=True)
class Device:
    """An open device. ``descriptors``: of its queues; ``vnet``: packets have vnet headers; ``uso``:
    it takes UDP super-packets."""

    descriptors: tuple[int, ...]
    name: str
    vnet: bool
    uso: bool

    def with_one_queue(self) -> Device:
        """The same device, that everything goes through its first queue; the others are open."""
        return replace(self, descriptors=self.descriptors[:1])

    def close(self) -> None:
        """The device goes with its descriptors, unless it is persistent."""
        if self.vnet:
            disable_offloads(self.descriptors[0])
        _close(self.descriptors)


def open_device(spec: DeviceSpec, without: Collection[Offload], opener: OpenDevice) -> Device:
    """Open a device and turn on what the kernel has. Raises ``HostError``."""
    descriptor, name = opener(spec, Offload.TUN not in without)
    return _turn_on((descriptor,), name, without)


def open_queues(
    spec: DeviceSpec, without: Collection[Offload], opener: OpenQueues, count: int, program: int
) -> Device:
    """The same with several queues, which the program steers to. Raises ``HostError``."""
    descriptors, name = opener(spec, Offload.TUN not in without, count, program)
    return _turn_on(descriptors, name, without)


def _turn_on(descriptors: tuple[int, ...], name: str, without: Collection[Offload]) -> Device:
    if not has_vnet(descriptors[0]):
        log.info("%s: packet by packet, without offloads", name)
        return Device(descriptors, name, False, False)
    try:
        offloads = enable_offloads(descriptors[0], without)
    except OSError as error:
        _close(descriptors)
        raise host_error(f"set the offloads of {name}", error) from None
    log.info("%s: %s", name, offloads)
    return Device(descriptors, name, True, offloads.uso)


def _close(descriptors: tuple[int, ...]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
