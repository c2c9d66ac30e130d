"""A server's device in a lab, and three ways to add the same peers to it."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections.abc import Callable
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
    """``count`` peers of both families, on one UDP socket. Each way removes what it added."""

    def __init__(self, namespace: Namespace, count: int) -> None:
        """The device is in ``namespace``, the socket in ours."""
        self._namespace = namespace
        self._specs = [_numbered_peer(number) for number in range(count)]
        self._loop = asyncio.new_event_loop()
        self._datapath = KernelDatapath(
            lambda report: None,
            self._loop,
            lambda spec: open_kernel(spec, many_peers=True, route_protocol=_ROUTE_PROTOCOL),
            lambda: LinkId(2),
            many_peers=True,
        )
        device = self._datapath.open_device(DeviceSpec(netns=namespace.full_name), MTU)
        namespace.set_up(device)
        link = LinkSpec(Transport.UDP, local_address=LOOPBACK)
        self._loop.run_until_complete(self._datapath.open_link(LinkId(1), link))
        self._device, self._family = in_netns(namespace.full_name, lambda: _converse(device))
        self._outer = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self._outer.bind((str(LOOPBACK), 0))

    def by_data_path(self) -> float:
        """Seconds of the data path's ``add_peer``, as the daemon's executor calls it."""
        return self._timed(
            [lambda spec=spec: self._datapath.add_peer(spec) for spec in self._specs],
            self._datapath.remove_peer,
        )

    def by_binding(self) -> float:
        """Seconds of the netlink binding alone, its orders made before."""
        orders = [order(spec, remote=True, many_peers=True) for spec in self._specs]
        number = self._outer.fileno()
        return self._timed(
            [lambda wanted=wanted: self._device.new_peer(wanted, number) for wanted in orders],
            self._device.delete_peer,
        )

    def by_raw_sends(self) -> float:
        """Seconds of ``send`` and ``recv`` alone: the same octets, encoded before."""
        packets = [self._encoded(number) for number in range(len(self._specs))]
        with in_netns(self._namespace.full_name, _netlink_socket) as netlink:
            return self._timed(
                [lambda packet=packet: _send_raw(netlink, packet) for packet in packets],
                self._device.delete_peer,
            )

    def close(self) -> None:
        """The device goes with it."""
        self._device.close()
        self._outer.close()
        self._datapath.close()
        self._loop.close()

    def _timed(
        self, calls: list[Callable[[], object]], remove: Callable[[PeerId], object]
    ) -> float:
        started = time.monotonic()
        for call in calls:
            call()
        took = time.monotonic() - started
        assert len(self._device.peers()) == len(self._specs)
        for spec in self._specs:
            remove(spec.peer)
        return took

    def _encoded(self, number: int) -> bytes:
        wanted = order(self._specs[number], remote=True, many_peers=True)
        peer = encode_peer(wanted, self._outer.fileno())
        return CODEC.encode(
            self._family.number,
            _REQUEST_AND_ACK,
            number + 1,
            {"cmd": int(Command.PEER_NEW), "version": VERSION},
            [("OVPN_A_IFINDEX", self._device.index), ("OVPN_A_PEER", peer)],
        )


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
