"""The native worker's module (module.c). ``OSError`` and ``MemoryError`` besides what is said.

A socket address is a ``struct sockaddr_in`` or ``sockaddr_in6`` as bytes, "" for a stream. Of a
``Worker`` only one thread may use anything; its own run beside.
"""

from collections.abc import Sequence

Report = tuple[int, int, int, int, int, bytes, bytes, bytes]
"""Kind, link, peer, other, value, socket address (28 bytes), own address, data (queue.h)."""

class Worker:
    def __init__(
        self,
        window: int,
        window_milliseconds: int,
        provider: str = "",
        segment: bool = True,
        copy_dscp: bool = False,
        flow_secret: bytes = b"",
        single: bool = False,
        lanes: int = 1,
    ) -> None:
        """``provider``: "ipsec-mb", "openssl", or "" for the best there is for each cipher.
        ``segment``: send trains of datagrams in one call. ``copy_dscp``: ``passtos``.
        ``flow_secret``: 16 bytes; outer flow labels by inner flow. ``single``: one thread
        sends and receives, else one does each. ``lanes``: that have such threads, 1 to 16; peers
        are divided among them by their ids."""

    def close(self) -> None:
        """End the threads, forget keys; descriptors stay open. Nothing else works any more."""

    def fileno(self) -> int:
        """Readable when there are reports."""

    def set_tunnel(self, queues: Sequence[int], vnet: bool, udp: bool) -> None:
        """A descriptor for each lane; none for no device. When this returns those before are not
        used any more."""

    def steer(self) -> int:
        """A BPF program for the device's queues; prefixes steer from now on, and ``set_route`` and
        ``remove_route`` raise ``OSError`` when the kernel takes one not, with nothing done."""

    def gather(self) -> None:
        """The first lane has all peers, present and to come, and each link its first socket only;
        the device is to be set anew. Nothing is steered any more."""

    def lanes(self) -> list[tuple[int, int]]:
        """Datagrams opened and sealed by each."""

    def add_udp(self, link: int, sockets: Sequence[int], family: int, multihome: bool) -> None:
        """A socket for each lane; all of one port."""

    def add_stream(self, link: int, descriptor: int, most: int) -> None:
        """``most``: octets of the longest frame taken, at most 65,535."""

    def remove_link(self, link: int) -> None:
        """The descriptor is not used any more. Raises ``KeyError``."""

    def send_stream(self, link: int, datagram: bytes) -> None:
        """Raises ``KeyError``."""

    def add_peer(self, peer: int) -> None: ...
    def set_peer(
        self,
        peer: int,
        send_id: int,
        interval: int,
        timeout: int,
        framing: int,
        float_allowed: bool,
        inactive_after: int,
        inactive_octets: int,
        copy_ecn: bool,
    ) -> None:
        """Raises ``KeyError``."""

    def place_peer(self, peer: int, link: int, address: bytes, local: bytes) -> None:
        """Raises ``KeyError``."""

    def unplace_peer(self, peer: int) -> None:
        """Raises ``KeyError``."""

    def remove_peer(self, peer: int) -> tuple[int, int, int, int, int, int]:
        """Its last counters. Raises ``KeyError``, ``ValueError`` when prefixes lead to it."""

    def counters(self, peer: int) -> tuple[int, int, int, int, int, int]:
        """In the order of ``PeerCounters``. Raises ``KeyError``."""

    def set_route(self, prefix: bytes, length: int, peer: int) -> None:
        """A prefix is the peer's, whoever had it. Raises ``KeyError``."""

    def remove_route(self, prefix: bytes, length: int) -> None: ...
    def install_key(
        self,
        peer: int,
        slot: int,
        key_id: int,
        cipher: str,
        epoch: bool,
        usage: int,
        failures: int,
        send_key: bytes,
        send_iv: bytes,
        receive_key: bytes,
        receive_iv: bytes,
        /,
    ) -> None:
        """``usage``: 2**64 - 1 is no limit. Raises ``KeyError``, ``ValueError``."""

    def drop_key(self, peer: int, slot: int) -> None:
        """Raises ``KeyError``."""

    def swap_keys(self, peer: int) -> None:
        """Raises ``KeyError``."""

    def keys(self, peer: int) -> tuple[int, int]:
        """Key ids of the two slots, -1 for an empty one. Raises ``KeyError``."""

    def send_exit(self, peer: int) -> None:
        """Raises ``KeyError``."""

    def reports(self) -> list[Report]:
        """Up to 64 of what happened, oldest first."""

    def drops(self) -> dict[str, int]:
        """By reason."""

    def errors(self) -> dict[tuple[str, int], int]:
        """Packets that a system call refused, by its name and the errno."""

def describe_crypto(cipher: str, provider: str = "") -> str | None:
    """The library that seals and opens a cipher; None when none has it."""
