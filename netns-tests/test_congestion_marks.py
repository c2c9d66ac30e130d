"""Congestion marks and traffic classes across the tunnel (RFC 6040, RFC 2983).

A relay on loopback stands for the network: it sees the class of each outer packet, and may set
another one, as a congested router does.

    namespace b: sender -> tun0 == link 2 -> relay -> link 1 == tun0 -> receiver: namespace a
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv6Address

import pytest
from datapath_ends import Ends, in_python, natively

from ovpn6.datapath.interface import Datapath
from ovpn6.datapath.tun import in_netns
from ovpn6.datapath.userspace import UserspaceOptions
from ovpn6.lab.network import Lab
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.names import LinkId, Transport
from ovpn6.model.specs import LinkSpec

PORT = 7000
NOT_ECT, ECT1, ECT0, CE = 0, 1, 2, 3
DSCP = 0x2E << 2
NAMES = {NOT_ECT: "Not-ECT", ECT1: "ECT1", ECT0: "ECT0", CE: "CE"}
FIGURE_4 = {
    (NOT_ECT, NOT_ECT): NOT_ECT,
    (NOT_ECT, ECT0): NOT_ECT,
    (NOT_ECT, ECT1): NOT_ECT,
    (NOT_ECT, CE): None,
    (ECT0, NOT_ECT): ECT0,
    (ECT0, ECT0): ECT0,
    (ECT0, ECT1): ECT1,
    (ECT0, CE): CE,
    (ECT1, NOT_ECT): ECT1,
    (ECT1, ECT0): ECT1,
    (ECT1, ECT1): ECT1,
    (ECT1, CE): CE,
    (CE, NOT_ECT): CE,
    (CE, ECT0): CE,
    (CE, ECT1): CE,
    (CE, CE): CE,
}
"""RFC 6040: what leaves the tunnel by inner and outer field."""


@dataclass
class Relay:
    """Passes datagrams of the second link on to the first. ``mark`` None: with their own class."""

    sock: socket.socket
    target: tuple[str, int, int, int]
    mark: int | None = None
    seen: int | None = None

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(IPv6Address("::1"), self.sock.getsockname()[1])

    def readable(self) -> None:
        data, ancillary, _, _ = self.sock.recvmsg(65_535, 64)
        self.seen = traffic_class_of(ancillary)
        value = struct.pack("=i", self.seen if self.mark is None else self.mark)
        classes = [(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, value)]
        self.sock.sendmsg([data], classes, 0, self.target)


def traffic_class_of(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    for level, kind, value in ancillary:
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_TCLASS):
            return int(struct.unpack("=i", value)[0])
        if (level, kind) == (socket.IPPROTO_IP, socket.IP_TOS):
            return value[0]
    return None


def inner_socket(family: int, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, 13, 1)  # IP_RECVTOS
    sock.bind(("", port))
    return sock


class Way:
    """Both ends, the relay between them, and a sender and a receiver of each family."""

    def __init__(
        self, lab: Lab, kind: Callable[..., Datapath], options: UserspaceOptions, copy_ecn: bool
    ) -> None:
        self.ends = Ends(lab, partial(kind, options=options))
        run = self.ends.loop.run_until_complete
        spec = LinkSpec(Transport.UDP, local_address=IPv6Address("::1"))
        first, second = (run(path.open_link(LinkId(1), spec)) for path in self.ends.paths)
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        sock.bind(("::1", 0))
        self.relay = Relay(sock, ("::1", first.port, 0, 0))
        self.ends.loop.add_reader(sock, self.relay.readable)
        link = LinkId(1)
        self.ends.know_each_other(
            Path(link, second), Path(link, self.relay.endpoint), copy_ecn=copy_ecn
        )
        there, here = self.ends.namespaces
        families = (socket.AF_INET6, socket.AF_INET)
        self.receivers = [
            in_netns(there.full_name, partial(inner_socket, family, PORT)) for family in families
        ]
        self.senders = [
            in_netns(here.full_name, partial(inner_socket, family, 0)) for family in families
        ]

    def send(self, traffic_class: int, family: int = socket.AF_INET6) -> None:
        """One inner packet, from the second end to the first."""
        if family == socket.AF_INET6:
            kind = (socket.IPPROTO_IPV6, socket.IPV6_TCLASS, struct.pack("=i", traffic_class))
            self.senders[0].sendmsg([b"x"], [kind], 0, ("2001:db8:a::1", PORT))
        else:
            kind = (socket.IPPROTO_IP, socket.IP_TOS, struct.pack("=i", traffic_class))
            self.senders[1].sendmsg([b"x"], [kind], 0, ("192.0.2.1", PORT))

    def arrived(self, family: int = socket.AF_INET6) -> int | None:
        """The class of the packet that arrives."""
        receiver = self.receivers[0 if family == socket.AF_INET6 else 1]
        taken: list[int | None] = []

        def take() -> bool:
            try:
                taken.append(traffic_class_of(receiver.recvmsg(100, 64)[1]))
            except BlockingIOError:
                return False
            return True

        self.ends.until(take)
        return taken[0]

    def drops(self, reason: str) -> int:
        return self.ends.paths[0].drops().counts.get(reason, 0)

    def close(self) -> None:
        self.ends.loop.remove_reader(self.relay.sock)
        for sock in (self.relay.sock, *self.receivers, *self.senders):
            sock.close()
        self.ends.close()


Make = Callable[..., Way]


@pytest.fixture(params=[in_python, natively])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    ways: list[Way] = []
    with Lab() as lab:

        def make_way(copy_ecn: bool = False, copy_dscp: bool = False) -> Way:
            options = UserspaceOptions(copy_dscp=copy_dscp)
            ways.append(Way(lab, request.param, options, copy_ecn))
            return ways[-1]

        yield make_way
        for way in ways:
            way.close()


@pytest.mark.parametrize("family", [socket.AF_INET6, socket.AF_INET])
def test_all_16_combinations_leave_the_tunnel_as_rfc_6040_says(make: Make, family: int) -> None:
    way = make()
    for (inner, outer), after in FIGURE_4.items():
        way.relay.mark = 0x28 | outer
        before = way.drops("inner without ECN met congestion")
        way.send(DSCP | inner, family)
        if after is None:
            way.ends.until(lambda: way.drops("inner without ECN met congestion") == before + 1)  # noqa: B023
        else:
            assert way.arrived(family) == DSCP | after, (NAMES[inner], NAMES[outer])


@pytest.mark.parametrize("family", [socket.AF_INET6, socket.AF_INET])
def test_nothing_of_the_traffic_class_is_outside_by_default(make: Make, family: int) -> None:
    way = make()
    for inner in range(4):
        way.send(DSCP | inner, family)
        assert way.arrived(family) == DSCP | inner
        assert way.relay.seen == 0


@pytest.mark.parametrize("family", [socket.AF_INET6, socket.AF_INET])
def test_marks_are_outside_for_a_peer_that_carries_them_back(make: Make, family: int) -> None:
    way = make(copy_ecn=True)
    for inner in range(4):
        way.send(DSCP | inner, family)
        assert way.arrived(family) == DSCP | inner
        assert way.relay.seen == inner


@pytest.mark.parametrize("family", [socket.AF_INET6, socket.AF_INET])
def test_passtos_copies_the_dscp_of_each_packet_and_no_mark(make: Make, family: int) -> None:
    way = make(copy_dscp=True)
    for inner in (DSCP | ECT0, 0x28, 0, DSCP | CE):
        way.send(inner, family)
        assert way.arrived(family) == inner
        assert way.relay.seen == inner & 0xFC
