"""The header before each packet on a TUN descriptor with ``IFF_VNET_HDR``.

``struct virtio_net_hdr`` of linux/virtio_net.h, ten octets in host byte order.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

VNET_SIZE = 10
NEEDS_CSUM = 1
GSO_NONE = 0
GSO_TCPV4 = 1
GSO_TCPV6 = 4
GSO_UDP_L4 = 5
GSO_ECN = 0x80
"""Added to a TCP type: the first segment carries CWR."""

_LAYOUT = struct.Struct("=BBHHHH")


class Vnet(NamedTuple):
    """What is to be done to a packet, or was done. Offsets and sizes in octets."""

    flags: int = 0
    gso_type: int = GSO_NONE
    hdr_len: int = 0
    """A hint, not to be trusted."""
    gso_size: int = 0
    """Payload of each segment but the last."""
    csum_start: int = 0
    """Where the transport header begins."""
    csum_offset: int = 0
    """The checksum after ``csum_start``; it holds the pseudo-header's sum, not inverted."""

    def encode(self) -> bytes:
        """Ten octets. Raises ``struct.error`` for a field that does not fit."""
        return _LAYOUT.pack(*self)


WHOLE = Vnet().encode()
"""Before a packet that needs nothing."""


def decode_vnet(data: bytes) -> Vnet:
    """The first ten octets of ``data``, which has at least as many."""
    return Vnet._make(_LAYOUT.unpack_from(data))
