"""Which offloads may be used: all that the kernel has, but for those that a person turned off."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from ovpn6.model.errors import HostError

VARIABLE = "OVPN6_WITHOUT"
"""Environment variable: names of offloads not to use, with spaces between. For tests, and for hosts
where one is suspected of a fault."""


class Offload(Enum):
    """One thing that the kernel does by the dozen instead of by the packet."""

    TUN = "tun"
    """Super-packets from and to the TUN device (vnet headers, TSO)."""
    USO = "uso"
    """The same for UDP in the tunnel."""
    SEGMENT = "udp-segment"
    """Trains of outer datagrams in one send."""
    GRO = "udp-gro"
    """Trains of outer datagrams in one receive."""
    NATIVE = "native"
    """The worker in C: the data path in Python serves."""
    IPSEC_MB = "ipsec-mb"
    """libipsec-mb in that worker: OpenSSL serves."""


def refused(environment: Mapping[str, str]) -> frozenset[Offload]:
    """What the environment turns off. Raises ``HostError`` for a name that is none."""
    names = environment.get(VARIABLE, "").split()
    try:
        return frozenset(Offload(name) for name in names)
    except ValueError:
        known = ", ".join(offload.value for offload in Offload)
        raise HostError(f"read {VARIABLE}", f"the offloads are {known}") from None
