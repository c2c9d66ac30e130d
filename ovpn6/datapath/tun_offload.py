"""Offloads of an open TUN device: what it may hand over and take uncut (``TUNSETOFFLOAD``)."""

from __future__ import annotations

import contextlib
import fcntl
import struct
from collections.abc import Collection

from ovpn6.datapath.offload.switch import Offload
from ovpn6.datapath.offload.vnet import VNET_SIZE
from ovpn6.model.records import dataclass

TUNSETOFFLOAD = 0x400454D0
TUNGETIFF = 0x800454D2
TUNSETVNETHDRSZ = 0x400454D8
IFF_VNET_HDR = 0x4000

CSUM = 0x01
TSO = 0x02 | 0x04 | 0x08
"""Of IPv4, of IPv6, and with CWR on the first segment."""
USO = 0x20 | 0x40

_IFREQ_FLAGS = struct.Struct("16sH22x")
_INT = struct.Struct("=i")


@dataclass(frozen=True, slots=True)
class TunOffloads:
    """What a descriptor with vnet headers was granted."""

    tso: bool
    uso: bool

    def __str__(self) -> str:
        if not self.tso:
            return "no segmentation"
        return "segmentation of TCP and UDP" if self.uso else "segmentation of TCP"


def has_vnet(descriptor: int) -> bool:
    """Whether packets have vnet headers. False for what is no TUN device."""
    try:
        answer = fcntl.ioctl(descriptor, TUNGETIFF, bytes(_IFREQ_FLAGS.size))
    except OSError:
        return False
    return bool(_IFREQ_FLAGS.unpack(answer)[1] & IFF_VNET_HDR)


def enable_offloads(descriptor: int, refused: Collection[Offload]) -> TunOffloads:
    """Take all that the kernel grants, least first to go: USO came with Linux 6.2."""
    # Another program may have left another size on a persistent device.
    fcntl.ioctl(descriptor, TUNSETVNETHDRSZ, _INT.pack(VNET_SIZE))
    wishes = [CSUM | TSO] if Offload.USO in refused else [CSUM | TSO | USO, CSUM | TSO]
    for wish in wishes:
        with contextlib.suppress(OSError):
            fcntl.ioctl(descriptor, TUNSETOFFLOAD, wish)
            return TunOffloads(True, bool(wish & USO))
    fcntl.ioctl(descriptor, TUNSETOFFLOAD, 0)
    return TunOffloads(False, False)


def disable_offloads(descriptor: int) -> None:
    """A persistent device outlives us: the next program may not know of super-packets."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(descriptor, TUNSETOFFLOAD, 0)
