"""A data path alone, with numbered peers whose keys follow from their numbers: no control channel.

    python -m bench.ends.crowd server --peers 1000 --active 64 --way default
    python -m bench.ends.crowd memory --way default

A thousand real clients would take longer to connect than everything else takes to measure, and
what a data path does is the same. A server's peers have one socket; of its peers the first
``active`` are at a client's end, which has a socket for each, as so many clients would.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import itertools
import json
import os
import re
import signal
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network
from pathlib import Path as FilePath

from bench.figures import PEER_COUNTS
from bench.net import CIPHER, CLIENT_OUTER, SERVER_OUTER
from bench.peers.ways import WAYS, open_alone
from ovpn6.datapath.interface import Datapath
from ovpn6.lab import process
from ovpn6.model.addresses import Endpoint, IPNetwork, Path
from ovpn6.model.names import KeyId, KeySlot, LinkId, PeerId, Transport
from ovpn6.model.secrets import SecretBytes
from ovpn6.model.specs import DeviceSpec, Keepalive, KeyMaterial, LinkSpec, PeerSpec
from ovpn6.pki.profile import TUN_MTU

INNER = {"server": IPv6Network("fd42:6372:1::/64"), "client": IPv6Network("fd42:6372:2::/64")}
"""Peer ``n`` joins address ``n`` of one with address ``n`` of the other."""
_INNER_4 = IPv4Address("10.88.0.0")
_PORT = 1194
_CLIENT_PORTS = 20_000
_OTHER = {"server": "client", "client": "server"}
_OUTER = {"server": SERVER_OUTER[6], "client": CLIENT_OUTER[6]}


def inner_address(side: str, number: int) -> IPv6Address:
    """Where peer ``number`` is at that side."""
    return INNER[side].network_address + number


def main() -> None:
    """Hold an end until SIGTERM, or measure memory."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("job", choices=("server", "client", "memory"))
    parser.add_argument("--peers", type=int, default=1)
    parser.add_argument("--active", type=int, default=1)
    parser.add_argument("--way", choices=tuple(WAYS), default="default")
    asked = parser.parse_args()
    if asked.job == "memory":
        asyncio.run(_weigh(asked.way))
    else:
        asyncio.run(_hold(asked.job, asked.way, asked.peers, asked.active))


async def _hold(side: str, way: str, peers: int, active: int) -> None:
    datapath = _open(way)
    device = datapath.open_device(DeviceSpec(), TUN_MTU)
    for number in range(1, active + 1 if side == "client" else 2):
        port = _CLIENT_PORTS + number if side == "client" else _PORT
        await datapath.open_link(LinkId(number), LinkSpec(Transport.UDP, local_port=port))
    for number in range(1, 1 + (active if side == "client" else peers)):
        _add(datapath, side, number)
    _dress(device, side, active)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print(f"ready {datapath.capabilities.name}", flush=True)
    await stop.wait()
    datapath.close()


async def _weigh(way: str) -> None:
    """Prints the resident KiB of this process for each number of peers."""
    datapath = _open(way)
    datapath.open_device(DeviceSpec(), TUN_MTU)
    await datapath.open_link(LinkId(1), LinkSpec(Transport.UDP, local_port=_PORT))
    weights, there = {}, 0
    for count in PEER_COUNTS:
        for number in range(there + 1, count + 1):
            _add(datapath, "server", number)
        there = count
        gc.collect()
        weights[count] = _resident_kib()
    print(json.dumps(weights), flush=True)
    datapath.close()


def _open(way: str) -> Datapath:
    links = itertools.count(100_000)
    return open_alone(WAYS[way], lambda report: None, lambda: LinkId(next(links)), many_peers=True)


def _add(datapath: Datapath, side: str, number: int) -> None:
    peer = PeerId(number)
    datapath.add_peer(
        PeerSpec(peer, number, _path(side, number), _networks(side, number), Keepalive(10, 600))
    )
    datapath.install_key(peer, KeySlot.PRIMARY, _keys(side, number))


def _path(side: str, number: int) -> Path:
    """Where peer ``number`` is reached from ``side``."""
    port = _PORT if side == "client" else _CLIENT_PORTS + number
    link = LinkId(number if side == "client" else 1)
    return Path(link, Endpoint(IPv6Address(_OUTER[_OTHER[side]]), port))


def _networks(side: str, number: int) -> tuple[IPNetwork, ...]:
    inner = (inner_address(_OTHER[side], number), _INNER_4 + number)
    return tuple(ip_network(address) for address in inner)


def _keys(side: str, number: int) -> KeyMaterial:
    """No secret: both ends know them by the number."""
    sent, received = (_secrets(name, number) for name in (side, _OTHER[side]))
    return KeyMaterial(KeyId(0), CIPHER, *sent, *received)


def _secrets(sender: str, number: int) -> tuple[SecretBytes, SecretBytes]:
    drawn = hashlib.sha512(f"{sender} {number}".encode()).digest()
    return SecretBytes(drawn[:32]), SecretBytes(drawn[32:40])


def _dress(device: str, side: str, active: int) -> None:
    lines = [f"link set {device} mtu {TUN_MTU} up"]
    lines += [
        f"address add {inner_address(side, number)}/128 dev {device} nodad"
        for number in range(1, active + 1)
    ]
    lines += [f"route add {INNER[_OTHER[side]]} dev {device}"]
    process.run(["ip", "-6", "-batch", "-"], stdin="\n".join(lines) + "\n")


def _resident_kib() -> int:
    status = FilePath(f"/proc/{os.getpid()}/status").read_text(encoding="utf-8")
    match = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    assert match is not None
    return int(match[1])


if __name__ == "__main__":
    main()
