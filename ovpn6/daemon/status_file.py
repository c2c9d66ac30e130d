"""The status file in OpenVPN's formats 1, 2 and 3, and the client's statistics.

Sources: OpenVPN ``multi.c`` ``multi_print_status``, ``sig.c`` ``print_status``, ``status.c``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ovpn6.config.schema import STATUS_JSON
from ovpn6.daemon.logs import time_string
from ovpn6.daemon.status_facts import StatusFacts
from ovpn6.daemon.status_json import status_json
from ovpn6.model.addresses import Endpoint
from ovpn6.model.errors import HostError
from ovpn6.model.specs import PeerCounters
from ovpn6.model.status import PeerStatus

UNDEFINED = "UNDEF"
"""What stands for the name of a peer that has none yet."""

_SEPARATORS = {2: ",", 3: "\t"}
_CLIENT_COLUMNS = (
    "Common Name",
    "Real Address",
    "Virtual Address",
    "Virtual IPv6 Address",
    "Bytes Received",
    "Bytes Sent",
    "Connected Since",
    "Connected Since (time_t)",
    "Username",
    "Client ID",
    "Peer ID",
    "Data Channel Cipher",
    # Ours: what reads the others finds them where OpenVPN has them.
    "Path MTU",
    "Tunnel MTU",
    "Path MTU Learned From",
    "Path MTU Since (time_t)",
    "Probes Sent",
    "Probes Lost",
    "Outer Fragments",
)
_PATH_COLUMNS = 7
"""The last of them, which are ours."""
_ROUTE_COLUMNS = (
    "Virtual Address",
    "Common Name",
    "Real Address",
    "Last Ref",
    "Last Ref (time_t)",
)


def status_text(facts: StatusFacts, version: int) -> str:
    """The whole file. A client's text is the same in all versions but for what is ours, which is
    not in version 1."""
    if version == STATUS_JSON:
        return status_json(facts)
    if not facts.role.is_server:
        lines = _client_lines(facts, version)
    elif version == 1:
        lines = _server_lines_1(facts)
    else:
        lines = _server_lines(facts, _SEPARATORS[version])
    return "".join(f"{line}\n" for line in lines)


class StatusFile:
    """The open file. It is written in place, so it outlives chroot and the change of user."""

    def __init__(self, path: Path) -> None:
        try:
            self._descriptor = os.open(
                path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise HostError(f"status {path}", error.strerror or "", error.errno or 0) from None

    def write(self, text: str) -> None:
        """Replace the content. Raises ``HostError`` (a full disk)."""
        data = text.encode("utf-8", "replace")
        try:
            os.pwrite(self._descriptor, data, 0)
            os.ftruncate(self._descriptor, len(data))
        except OSError as error:
            raise HostError("status", error.strerror or "", error.errno or 0) from None

    def close(self) -> None:
        """Close it; the last content stays."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def real_address(remote: Endpoint) -> str:
    """OpenVPN shows the port of IPv4 addresses only."""
    if remote.address.version == 4:
        return f"{remote.address}:{remote.port}"
    return str(remote.address)


def _server_lines_1(facts: StatusFacts) -> Iterator[str]:
    yield "OpenVPN CLIENT LIST"
    yield f"Updated,{time_string(facts.unix_time)}"
    yield "Common Name,Real Address,Bytes Received,Bytes Sent,Connected Since"
    for peer in facts.role.peers:
        counters = facts.counters.get(peer.peer, PeerCounters())
        since = time_string(peer.connected + facts.wall_offset)
        yield (
            f"{_name(peer)},{real_address(peer.path.remote)},"
            f"{counters.link_in},{counters.link_out},{since}"
        )
    yield "ROUTING TABLE"
    yield "Virtual Address,Common Name,Real Address,Last Ref"
    for peer in facts.role.peers:
        since = time_string(peer.connected + facts.wall_offset)
        for destination in _destinations(peer):
            yield f"{destination},{_name(peer)},{real_address(peer.path.remote)},{since}"
    yield "GLOBAL STATS"
    yield "Max bcast/mcast queue length,0"
    yield "END"


def _server_lines(facts: StatusFacts, separator: str) -> Iterator[str]:
    yield separator.join(("TITLE", facts.title))
    yield separator.join(("TIME", time_string(facts.unix_time), str(int(facts.unix_time))))
    yield separator.join(("HEADER", "CLIENT_LIST", *_CLIENT_COLUMNS))
    for peer in facts.role.peers:
        yield separator.join(("CLIENT_LIST", *_client_row(facts, peer)))
    yield separator.join(("HEADER", "ROUTING_TABLE", *_ROUTE_COLUMNS))
    for peer in facts.role.peers:
        since = peer.connected + facts.wall_offset
        shared = (_name(peer), real_address(peer.path.remote), time_string(since), str(int(since)))
        for destination in _destinations(peer):
            yield separator.join(("ROUTING_TABLE", destination, *shared))
    yield separator.join(("GLOBAL_STATS", "Max bcast/mcast queue length", "0"))
    yield separator.join(("GLOBAL_STATS", "dco_enabled", str(int(facts.kernel_datapath))))
    yield "END"


def _client_row(facts: StatusFacts, peer: PeerStatus) -> tuple[str, ...]:
    counters = facts.counters.get(peer.peer, PeerCounters())
    since = peer.connected + facts.wall_offset
    return (
        _name(peer),
        real_address(peer.path.remote),
        str(peer.ipv4 or ""),
        str(peer.ipv6 or ""),
        str(counters.link_in),
        str(counters.link_out),
        time_string(since),
        str(int(since)),
        _clean(peer.username) or UNDEFINED,
        str(int(peer.peer)),
        str(int(peer.peer)),
        peer.cipher,
        *_path_columns(facts, peer),
    )


def _path_columns(facts: StatusFacts, peer: PeerStatus) -> tuple[str, ...]:
    """Empty where the path's MTU is not found out."""
    sizes, fragments = peer.sizes, facts.fragments.get(peer.peer, 0)
    if sizes is None:
        return ("",) * _PATH_COLUMNS
    return (
        "" if sizes.path is None else str(sizes.path),
        str(sizes.tunnel),
        sizes.learned,
        str(int(sizes.since + facts.wall_offset)),
        str(sizes.sent),
        str(sizes.lost),
        "" if fragments is None else str(fragments),
    )


def _client_lines(facts: StatusFacts, version: int) -> Iterator[str]:
    total = [facts.counters.get(peer.peer, PeerCounters()) for peer in facts.role.peers]
    yield "OpenVPN STATISTICS"
    yield f"Updated,{time_string(facts.unix_time)}"
    yield f"TUN/TAP read bytes,{sum(one.bytes_out for one in total)}"
    yield f"TUN/TAP write bytes,{sum(one.bytes_in for one in total)}"
    yield f"TCP/UDP read bytes,{sum(one.link_in for one in total)}"
    yield f"TCP/UDP write bytes,{sum(one.link_out for one in total)}"
    yield f"Auth read bytes,{sum(one.bytes_in for one in total)}"
    for peer in facts.role.peers if version > 1 else ():
        names = _CLIENT_COLUMNS[-_PATH_COLUMNS:]
        for name, value in zip(names, _path_columns(facts, peer), strict=True):
            yield f"{name},{value}"
    yield "END"


def _destinations(peer: PeerStatus) -> tuple[str, ...]:
    """Its addresses first; a route of one address is shown as that address, once."""
    addresses = [str(address) for address in (peer.ipv4, peer.ipv6) if address is not None]
    routes = [
        str(network.network_address if network.prefixlen == network.max_prefixlen else network)
        for network in peer.routes
    ]
    return tuple(dict.fromkeys(addresses + routes))


def _name(peer: PeerStatus) -> str:
    return _clean(peer.common_name) or UNDEFINED


def _clean(text: str) -> str:
    """A name cannot add columns or lines."""
    return "".join("_" if char in ",\t" or not char.isprintable() else char for char in text)
