"""The tunnel device as the native worker uses it: with vnet headers where the kernel has them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection

from ovpn6.datapath.errors import host_error
from ovpn6.datapath.offload.switch import Offload
from ovpn6.datapath.tun_offload import disable_offloads, enable_offloads, has_vnet
from ovpn6.model.records import dataclass
from ovpn6.model.specs import DeviceSpec

log = logging.getLogger("ovpn6.datapath")

OpenDevice = Callable[[DeviceSpec, bool], tuple[int, str]]
"""Opens a device: a descriptor and a name. The second argument asks for vnet headers."""


@dataclass(frozen=True, slots=True)
class Device:
    """An open device. ``vnet``: packets have vnet headers; ``uso``: it takes UDP super-packets."""

    descriptor: int
    name: str
    vnet: bool
    uso: bool

    def close(self) -> None:
        """The device goes with its descriptor, unless it is persistent."""
        if self.vnet:
            disable_offloads(self.descriptor)
        os.close(self.descriptor)


def open_device(spec: DeviceSpec, without: Collection[Offload], opener: OpenDevice) -> Device:
    """Open a device and turn on what the kernel has. Raises ``HostError``."""
    descriptor, name = opener(spec, Offload.TUN not in without)
    if not has_vnet(descriptor):
        log.info("%s: packet by packet, without offloads", name)
        return Device(descriptor, name, False, False)
    try:
        offloads = enable_offloads(descriptor, without)
    except OSError as error:
        os.close(descriptor)
        raise host_error(f"set the offloads of {name}", error) from None
    log.info("%s: %s", name, offloads)
    return Device(descriptor, name, True, offloads.uso)
