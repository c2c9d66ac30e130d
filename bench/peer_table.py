"""A server's device in a lab, and three ways to add peers to it."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_network

from ovpn6.datapath.kernel import KernelDatapath
from ovpn6.datapath.kernel_open import open_kernel
from ovpn6.datapath.kernel_peers import order
from ovpn6.datapath.ovpn_netlink.device import OvpnDevice
from ovpn6.datapath.ovpn_netlink.family import Family, find_family
from ovpn6.datapath.ovpn_netlink.messages import VERSION, Command
from ovpn6.datapath.ovpn_netlink.records import CODEC, encode_peer
from ovpn6.datapath.tun import in_netns
from ovpn6.lab.namespace import Namespace
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.names import LinkId, PeerId, Transport
from ovpn6.model.specs import DeviceSpec, Keepalive, LinkSpec, PeerSpec
from ovpn6.netlink.conversation import GENERIC, Conversation

MTU = 1420
LOOPBACK = IPv6Address("::1")
_ROUTE_PROTOCOL = 54
_REQUEST_AND_ACK = 0x05
_ERROR_CODE = struct.Struct("=16xi")
"""``struct nlmsgerr`` after ``struct nlmsghdr``."""


class PeerTable:
    """``count`` peers of both families for each way, on one UDP socket, added in turn: what
    disturbs one way disturbs all."""

    def __init__(self, namespace: Namespace, count: int) -> None:
        """The device is in ``namespace``, the socket in ours."""
        self._count = count
        self._loop = asyncio.new_event_loop()
        self._datapath = KernelDatapath(
            lambda report: None,
            self._loop,
            lambda spec: open_kernel(spec, many_peers=True, route_protocol=_ROUTE_PROTOCOL),
            lambda: LinkId(2),
            many_peers=True,
        )
        name = self._datapath.open_device(DeviceSpec(netns=namespace.full_name), MTU)
        namespace.set_up(name)
        link = LinkSpec(Transport.UDP, local_address=LOOPBACK)
        self._loop.run_until_complete(self._datapath.open_link(LinkId(1), link))
        self._device, self._family = in_netns(namespace.full_name, lambda: _converse(name))
        self._netlink = in_netns(namespace.full_name, _netlink_socket)
        self._outer = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self._outer.bind((str(LOOPBACK), 0))

    def measure(self) -> tuple[list[float], list[float], list[float]]:
        """Seconds of each call: ``add_peer`` of the data path, as the daemon's executor calls it;
        the netlink binding alone, its order made before; ``send`` and ``recv`` alone, of the same
        octets encoded before."""
        count, descriptor = self._count, self._outer.fileno()
        specs = [_numbered_peer(number) for number in range(3 * count)]
        orders = [order(spec, remote=True, many_peers=True) for spec in specs[count : 2 * count]]
        packets = [self._encoded(spec) for spec in specs[2 * count :]]
        ways: list[list[Callable[[], object]]] = [
            [partial(self._datapath.add_peer, spec) for spec in specs[:count]],
            [partial(self._device.new_peer, wanted, descriptor) for wanted in orders],
            [partial(_send_raw, self._netlink, packet) for packet in packets],
        ]
        took: tuple[list[float], list[float], list[float]] = ([], [], [])
        for number in range(count):
            for turn in range(3):
                # Each is as often the first of three, with what that costs.
                way = (number + turn) % 3
                took[way].append(_timed(ways[way][number]))
        assert len(self._device.peers()) == 3 * count
        return took

    def close(self) -> None:
        """The device goes with it, and the peers with the device."""
        self._device.close()
        self._netlink.close()
        self._datapath.close()
        self._outer.close()
        self._loop.close()

    def _encoded(self, spec: PeerSpec) -> bytes:
        wanted = order(spec, remote=True, many_peers=True)
        peer = encode_peer(wanted, self._outer.fileno())
        return CODEC.encode(
            self._family.number,
            _REQUEST_AND_ACK,
            1,
            {"cmd": int(Command.PEER_NEW), "version": VERSION},
            [("OVPN_A_IFINDEX", self._device.index), ("OVPN_A_PEER", peer)],
        )


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _numbered_peer(number: int) -> PeerSpec:
    networks = (
        ip_network(int(IPv6Address("2001:db8::1000")) + number),
        ip_network(int(IPv4Address("10.0.0.1")) + number),
    )
    path = Path(LinkId(1), Endpoint(LOOPBACK, 10_000 + number))
    return PeerSpec(PeerId(number), number, path, networks, Keepalive(10, 60))


def _converse(device: str) -> tuple[OvpnDevice, Family]:
    conversation = Conversation(GENERIC)
    family = find_family(conversation)
    assert family is not None
    return OvpnDevice(conversation, family, socket.if_nametoindex(device)), family


def _netlink_socket() -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, GENERIC)
    made.bind((0, 0))
    return made


def _send_raw(netlink: socket.socket, packet: bytes) -> None:
    netlink.send(packet)
    (code,) = _ERROR_CODE.unpack_from(netlink.recv(4096))
    if code:
        raise OSError(-code, os.strerror(-code))
