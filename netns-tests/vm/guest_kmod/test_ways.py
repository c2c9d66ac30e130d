"""Outer packets go the way of their socket: by the VRF or the device that it is bound to.

    near: device kmod, a socket  ==link 0, link 1==  far: FAR

Mainline's module heeds neither.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import pytest
from interop.ends import INNER, SERVER_6, client_text, make_authority, server_text
from vm.gate_kernel import is_gate
from vm.guest_kmod.oracle.scene import ETH_P_IPV6, PATIENCE, seal, wait

from ovpn6.datapath.kernel_open import Kernel, open_kernel
from ovpn6.datapath.ovpn_netlink.records import PeerOrder
from ovpn6.datapath.tun import in_netns
from ovpn6.lab import Lab, Namespace, Ovpn6, StockOpenVPN, ping, transfer
from ovpn6.model.addresses import Endpoint
from ovpn6.model.names import KeySlot, PeerId
from ovpn6.model.specs import DeviceSpec
from ovpn6.pki.profile import RemoteLine
from tests.datapath.packets import ip_packet, key_pair

pytestmark = pytest.mark.root

VRF, TABLE = "blue", "100"
PORT = 40_001
FAR = {6: "2001:db8:f::1", 4: "198.51.100.1"}
"""Both links lead there."""
ONLY_IPV6 = is_gate(os.uname().release)
"""That kernel has no equal ways of IPv4."""
PACKETS = 20
PEER = PeerId(1)
INSIDE = ip_packet("fd00::1", "fd00::2", bytes(100))
ANSWER = ip_packet("fd00::2", "fd00::1", bytes(100))


@dataclass(frozen=True, slots=True)
class Links:
    """Two links, each with a socket at its far end that hears that link alone."""

    near: Namespace
    names: list[str]
    heard: list[socket.socket]

    def counts(self, expected: int) -> list[int]:
        """How many datagrams came by each link since the last time, when all have."""
        counts = [0, 0]

        def read() -> bool:
            for position, one in enumerate(self.heard):
                with suppress(BlockingIOError):
                    while True:
                        one.recv(2048)
                        counts[position] += 1
            return sum(counts) >= expected

        wait(read, f"{expected} datagrams by {self.names}")
        return counts


def near_address(version: int, link: int) -> str:
    """Of the near end."""
    return f"2001:db8:{link}::1" if version == 6 else f"192.0.2.{4 * link + 1}"


def far_address(version: int, link: int) -> str:
    """Of the far end."""
    return f"2001:db8:{link}::2" if version == 6 else f"192.0.2.{4 * link + 2}"


def connect(lab: Lab, *, vrf: bool) -> tuple[Namespace, Namespace, list[str], list[str]]:
    """The namespaces and the names of the links' ends. With ``vrf`` link 1 is in it, and its table
    alone knows that link; else the two are equal ways to the far address."""
    near, far = lab.namespace("near"), lab.namespace("far")
    pairs = [lab.link(near, far) for _ in range(2)]
    names, far_names = ([pair[side].name for pair in pairs] for side in (0, 1))
    if vrf:
        near.run(["ip", "link", "add", VRF, "type", "vrf", "table", TABLE])
        near.run(["ip", "link", "set", names[1], "master", VRF])
        near.set_up(VRF)
    families = {6: 64, 4: 30} if vrf or not ONLY_IPV6 else {6: 64}
    for version, bits in families.items():
        far.add_address("lo", f"{FAR[version]}/{128 if version == 6 else 32}")
        for link in range(2):
            near.add_address(names[link], f"{near_address(version, link)}/{bits}")
            far.add_address(far_names[link], f"{far_address(version, link)}/{bits}")
        hops = [["via", far_address(version, link), "dev", names[link]] for link in range(2)]
        add = ["ip", f"-{version}", "route", "add", FAR[version]]
        if vrf:
            near.run([*add, *hops[0]])
            near.run([*add, *hops[1], "table", TABLE])
        else:
            near.run([*add, "nexthop", *hops[0], "nexthop", *hops[1]])
    return near, far, names, far_names


@pytest.fixture
def links(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Links]:
    near, far, names, far_names = connect(lab, vrf=request.param)
    with ExitStack() as stack:
        heard = [
            stack.enter_context(closing(in_netns(far.full_name, partial(_udp, name))))
            for name in far_names
        ]
        yield Links(near, names, heard)


def _udp(device: str = "") -> socket.socket:
    """A socket of both families, bound to a device when one is named."""
    opened = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    bind(opened, device)
    opened.bind(("::", PORT))
    opened.setblocking(False)
    return opened


def bind(outer: socket.socket, device: str) -> None:
    """Send and receive by this device alone; by any when it has no name."""
    outer.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0")


@dataclass(frozen=True, slots=True)
class Sender:
    """A device with one peer at the far address, and its socket."""

    kernel: Kernel
    outer: socket.socket
    tap: socket.socket

    def send(self) -> None:
        """Some packets enter the device."""
        for _ in range(PACKETS):
            self.tap.sendto(INSIDE, ("kmod", ETH_P_IPV6))


@pytest.fixture(params=[6, 4], ids=["ipv6", "ipv4"])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def sender(links: Links, version: int) -> Iterator[Sender]:
    near = links.near
    spec = DeviceSpec("kmod", netns=near.full_name)
    kernel = open_kernel(spec, many_peers=False, route_protocol=54, name="ovpn6")
    with ExitStack() as stack:
        stack.enter_context(closing(kernel))
        near.sysctl({"net.ipv6.conf.kmod.disable_ipv6": "1"})
        near.set_up("kmod", mtu=1400)
        outer = stack.enter_context(closing(in_netns(near.full_name, _udp)))
        tap = stack.enter_context(closing(in_netns(near.full_name, _tap)))
        far = Endpoint(ip_address(FAR[version]), PORT)
        kernel.peers.new_peer(PeerOrder(PEER, far), outer.fileno())
        kernel.peers.new_key(PEER, KeySlot.PRIMARY, key_pair(0))
        yield Sender(kernel, outer, tap)


def _tap() -> socket.socket:
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    tap.bind(("kmod", ETH_P_IPV6))
    tap.settimeout(PATIENCE)
    return tap


@pytest.mark.parametrize("links", [True], ids=["vrf"], indirect=True)
def test_packets_leave_by_the_vrf_of_their_socket(
    links: Links, sender: Sender, version: int
) -> None:
    """And come in by it. Those of an unbound socket leave by the main table."""
    for device, counts in ((VRF, [0, PACKETS]), ("", [PACKETS, 0]), (VRF, [0, PACKETS])):
        bind(sender.outer, device)
        sender.send()
        assert links.counts(PACKETS) == counts
    there = near_address(version, 1)
    mapped = f"::ffff:{there}" if version == 4 else there
    links.heard[1].sendto(seal("AES-256-GCM", PEER, 1, ANSWER), (mapped, PORT))
    packet = INSIDE
    while packet == INSIDE:
        packet = sender.tap.recv(2048)
    assert packet == ANSWER


@pytest.mark.parametrize("links", [False], ids=["equal-ways"], indirect=True)
def test_of_equal_ways_that_of_the_sockets_device_is_taken(
    links: Links, sender: Sender, version: int
) -> None:
    if ONLY_IPV6 and version == 4:
        pytest.skip("this kernel has no equal ways of IPv4")
    for link in (1, 0, 1):
        bind(sender.outer, links.names[link])
        sender.send()
        counts = links.counts(PACKETS)
        assert counts[link] == PACKETS, counts


@pytest.mark.parametrize("bound", ["client", "server"])
def test_a_tunnel_over_a_vrf_is_the_kernels(lab: Lab, tmp_path: Path, bound: str) -> None:
    """Ours by its own name, OpenVPN by the kernel's, each over the VRF in turn."""
    near, far, names, _ = connect(lab, vrf=True)
    authority = make_authority(tmp_path)
    over = (f"bind-dev {VRF}",)
    client_there = bound == "client"
    server_place, client_place = (far, near) if client_there else (near, far)
    server = StockOpenVPN(
        server_place, server_text(authority, *(() if client_there else over)), name="server"
    )
    server.wait_up()
    target = far_address(6, 1) if client_there else near_address(6, 1)
    remote = RemoteLine(target, 1194, "udp6")
    extra = over if client_there else ()
    client = Ovpn6(client_place, client_text(authority, remote, *extra), name="client")
    client.wait_up()
    assert (server.device().kind, client.device().kind) == ("ovpn", "ovpn6")
    before = near.device(names[0]).sent_bytes
    for address in INNER:
        assert ping(client_place, address).complete, address
    assert transfer(client_place, server_place, SERVER_6, 200_000)
    assert near.device(names[0]).sent_bytes - before < 100_000
    assert near.device(names[1]).sent_bytes > 200_000
