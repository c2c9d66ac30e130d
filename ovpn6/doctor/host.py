"""What this host is set to: interfaces, sysctls, packet filters, and a SYN that leaves it.

Of the network namespace that the doctor itself runs in. Nothing is changed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from ovpn6.doctor.facts import Filter, Interface, SegmentSize, Sysctls
from ovpn6.doctor.filters import OWN_TABLES, icmp_filters
from ovpn6.model.addresses import IPAddress
from ovpn6.model.errors import HostError

TUNNELS = frozenset({"tun", "ovpn", "ovpn6", "ovpn-dco-v2"})
_PROC = Path("/proc/sys/net")
_LEARNED = 9
"""``RTPROT_RA``."""
_ETH_P_ALL = 3
_DISCARD = 9
_SYN_WAIT = 1.0
_NFT_LIMIT = 20.0
_LINK_LOCAL = 253
"""``RT_SCOPE_LINK``."""


def interfaces() -> tuple[Interface, ...]:
    """Every interface that is up."""
    with IPRoute() as netlink:
        addresses = [
            (message["index"], message["family"])
            for message in netlink.get_addr()
            if message["scope"] < _LINK_LOCAL
        ]
        learned = {
            message.get("oif")
            for message in netlink.get_routes(family=socket.AF_INET6)
            if message["proto"] == _LEARNED and message["dst_len"] == 0
        }
        links = [message for message in netlink.get_links() if message["state"] == "up"]
    return tuple(
        _interface(message, addresses, learned=message["index"] in learned) for message in links
    )


def sysctls() -> Sysctls:
    """Of the whole namespace."""
    return Sysctls(
        forwarding6=_sysctl("ipv6/conf/all/forwarding"),
        forwarding4=_sysctl("ipv4/ip_forward"),
        disable_ipv6=_either("ipv6/conf/all/disable_ipv6", "ipv6/conf/default/disable_ipv6"),
        icmp6_ratelimit=_sysctl("ipv6/icmp/ratelimit"),
        icmp6_limited=_ranges(_read("ipv6/icmp/ratemask")),
        no_pmtu_disc=_sysctl("ipv4/ip_no_pmtu_disc"),
    )


def filters() -> tuple[tuple[Filter, ...] | None, str]:
    """``(what ends packet too big, "")``, or ``(None, why that is not known)``."""
    nft = shutil.which("nft", path="/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin")
    if nft is None:
        return None, "there is no nft program"
    try:
        tables = _nft(nft, "list", "tables").splitlines()
        # One by one and without ours: nft 1.0.6 prints tables with an owner as broken JSON.
        texts = [
            _nft(nft, "-j", "list", *line.split())
            for line in tables
            if not line.split()[-1].startswith(OWN_TABLES)
        ]
        return tuple(found for text in texts for found in icmp_filters(text)), ""
    except (HostError, OSError, subprocess.TimeoutExpired, json.JSONDecodeError) as error:
        return None, str(error)


def _nft(program: str, *words: str) -> str:
    done = subprocess.run(
        [program, *words], capture_output=True, text=True, timeout=_NFT_LIMIT, check=False
    )
    if done.returncode:
        raise HostError("nft", (done.stderr.strip() or "nft failed").splitlines()[0])
    return done.stdout


def device_toward(address: IPAddress) -> tuple[str, int]:
    """Name and MTU of the interface that packets to ``address`` leave by. Raises ``HostError``."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with IPRoute() as netlink:
        try:
            (route, *_) = netlink.route("get", dst=str(address), family=family)
            (link, *_) = netlink.get_links(route.get("oif"))
        except Exception as error:
            # pyroute2's own class, whose place differs by version, has the kernel's number.
            code = getattr(error, "code", 0)
            raise HostError(f"route to {address}", str(error), code) from None
    return link.get("ifname"), link.get("mtu")


def gateways_by(device: str) -> tuple[IPAddress, ...]:
    """The next hops of routes through a device: in a tunnel that is the other end."""
    with IPRoute() as netlink:
        index = netlink.link_lookup(ifname=device)
        routes = [route for route in netlink.get_routes() if route.get("oif") in index]
    found = {ip_address(via) for route in routes if (via := route.get("gateway"))}
    return tuple(sorted(found, key=lambda address: (-address.version, int(address))))


def networks_of(device: str) -> tuple[tuple[IPAddress, int, IPAddress | None], ...]:
    """``(own address, prefix length, the other end's)`` of an interface, the last where the kernel
    has one; without link-local ones."""
    with IPRoute() as netlink:
        index = netlink.link_lookup(ifname=device)
        found = [
            message
            for message in netlink.get_addr()
            if message["index"] in index and message["scope"] < _LINK_LOCAL
        ]
    return tuple(_network(message) for message in found)


def segment_size(target: IPAddress, device: str) -> SegmentSize:
    """Open a connection to ``target`` through ``device``, and read the SYN as it leaves."""
    family = socket.AF_INET6 if target.version == 6 else socket.AF_INET
    kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as tap,
        socket.socket(family, kind) as caller,
    ):
        tap.bind((device, _ETH_P_ALL))
        code = caller.connect_ex((str(target), _DISCARD))
        if code not in (0, errno.EINPROGRESS, errno.ECONNREFUSED):
            return SegmentSize(target, None)
        deadline = time.monotonic() + _SYN_WAIT
        while (left := deadline - time.monotonic()) > 0:
            select.select([tap], [], [], left)
            with contextlib.suppress(BlockingIOError):
                mss = mss_of(tap.recv(65_535), target)
                if mss is not None:
                    return SegmentSize(target, mss)
    return SegmentSize(target, None)


def mss_of(packet: bytes, target: IPAddress) -> int | None:
    """What a SYN to ``target`` announces; None for any other packet, and without the option."""
    if len(packet) < 20 or packet[0] >> 4 != target.version:
        return None
    six = target.version == 6
    start = 40 if six else (packet[0] & 15) * 4
    destination = packet[24:40] if six else packet[16:20]
    protocol = packet[6] if six else packet[9]
    if protocol != socket.IPPROTO_TCP or destination != target.packed or len(packet) < start + 20:
        return None
    if packet[start + 13] & 0x12 != 0x02:
        return None
    options = packet[start + 20 : start + (packet[start + 12] >> 4) * 4]
    return _mss_option(options)


def _mss_option(options: bytes) -> int | None:
    while len(options) >= 2 and options[0] != 0:
        if options[0] == 1:
            options = options[1:]
            continue
        length = options[1]
        if options[0] == 2 and length == 4 and len(options) >= 4:
            return int.from_bytes(options[2:4], "big")
        if length < 2:
            return None
        options = options[length:]
    return None


def _interface(message: Any, addresses: Sequence[tuple[int, int]], *, learned: bool) -> Interface:
    name, index = message.get("ifname"), message["index"]
    info = message.get("linkinfo")
    conf = f"ipv6/conf/{name}"
    return Interface(
        name=name,
        mtu=message.get("mtu"),
        tunnel=(info.get("kind") if info else None) in TUNNELS,
        ipv6=(index, socket.AF_INET6) in addresses,
        ipv4=(index, socket.AF_INET) in addresses,
        learns_route=learned,
        disable_ipv6=_sysctl(f"{conf}/disable_ipv6"),
        accept_ra=_sysctl(f"{conf}/accept_ra"),
        forwarding6=_sysctl(f"{conf}/forwarding"),
    )


def _network(message: Any) -> tuple[IPAddress, int, IPAddress | None]:
    own = message.get("local") or message.get("address")
    other = message.get("address")
    length = message["prefixlen"]
    return ip_address(own), length, ip_address(other) if other and other != own else None


def _either(first: str, second: str) -> int | None:
    found = [value for name in (first, second) if (value := _sysctl(name)) is not None]
    return max(found, default=None)


def _sysctl(name: str) -> int | None:
    text = _read(name)
    return int(text) if text.lstrip("-").isdigit() else None


def _read(name: str) -> str:
    try:
        return (_PROC / name).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _ranges(text: str) -> tuple[int, ...]:
    """``0-1,3-127`` as numbers."""
    found: list[int] = []
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return tuple(found)
