"""Flow labels of outer packets: one for each inner flow where ``flow-label flow`` asks for it.

A socket on loopback stands for the first end, and sees the label of each outer packet.

    namespace b: 8 senders -> tun0 == link 1 -> watcher
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import IPv6Address

import pytest
from datapath_ends import Ends, in_python, natively
from interop.ends import OURS_OURS, SERVER_6, make_authority, start

from ovpn6.datapath.interface import Datapath
from ovpn6.datapath.offload.vnet import WHOLE
from ovpn6.datapath.tun import in_netns
from ovpn6.datapath.udp_link import UdpLink
from ovpn6.datapath.userspace import UserspaceOptions
from ovpn6.lab import Capture, Line, ping
from ovpn6.lab.network import Lab
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.names import LinkId, Transport
from ovpn6.model.specs import FlowLabel, LinkSpec, SocketOptions
from ovpn6.pki.authority import Authority
from tests.datapath.inner_packets import Inner
from tests.datapath.native_worker import Alone

FLOWS = 8
EACH = 3
PORT = 7000
SECRET = bytes(range(16))
IPV6_FLOWINFO = 11
IPV6_FLOWLABEL_MGR = 32
NOTICE, NO_LABEL = 11, 3


def watching() -> socket.socket:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FLOWINFO, 1)
    sock.bind(("::1", 0))
    return sock


def label_of(sock: socket.socket) -> int | None:
    """Of the next datagram; None when none waits. A label of zero is not told at all."""
    try:
        _, ancillary, _, _ = sock.recvmsg(65_535, 64)
    except BlockingIOError:
        return None
    for level, kind, value in ancillary:
        if (level, kind) == (socket.IPPROTO_IPV6, IPV6_FLOWINFO):
            return int.from_bytes(value, "big") & 0xFFFFF
    return 0


class Way:
    """Both ends; what the second sends goes to the watcher."""

    def __init__(self, lab: Lab, kind: Callable[..., Datapath], how: FlowLabel) -> None:
        secret = SECRET if how is FlowLabel.FLOW else b""
        self.ends = Ends(lab, partial(kind, options=UserspaceOptions(flow_secret=secret)))
        run = self.ends.loop.run_until_complete
        options = SocketOptions(flow_label=how)
        spec = LinkSpec(Transport.UDP, local_address=IPv6Address("::1"), options=options)
        for path in self.ends.paths:
            run(path.open_link(LinkId(1), spec))
        self.watcher = watching()
        there = Endpoint(IPv6Address("::1"), self.watcher.getsockname()[1])
        self.ends.know_each_other(Path(LinkId(1), there), Path(LinkId(1), there))

    def labels(self, family: int, target: str) -> list[list[int]]:
        """Of the packets of each inner flow, sent in turn."""
        namespace = self.ends.namespaces[1].full_name
        senders = [
            in_netns(namespace, partial(socket.socket, family, socket.SOCK_DGRAM))
            for _ in range(FLOWS)
        ]
        seen: list[list[int]] = [[] for _ in senders]
        for sock in senders:
            sock.connect((target, PORT))
        for _ in range(EACH):
            for sock, labels in zip(senders, seen, strict=True):
                sock.send(b"x" * 100)
                self.ends.until(lambda labels=labels: self._take(labels))
        for sock in senders:
            sock.close()
        return seen

    def _take(self, labels: list[int]) -> bool:
        label = label_of(self.watcher)
        if label is not None:
            labels.append(label)
        return label is not None

    def close(self) -> None:
        self.watcher.close()
        self.ends.close()


@pytest.fixture(params=[in_python, natively])
def make(request: pytest.FixtureRequest) -> Iterator[Callable[[FlowLabel], Way]]:
    ways: list[Way] = []
    with Lab() as lab:

        def make_way(how: FlowLabel) -> Way:
            ways.append(Way(lab, request.param, how))
            return ways[-1]

        yield make_way
        for way in ways:
            way.close()


def test_each_inner_flow_has_a_label_of_its_own_and_keeps_it(
    make: Callable[[FlowLabel], Way],
) -> None:
    way = make(FlowLabel.FLOW)
    for family, target in ((socket.AF_INET6, "2001:db8:a::1"), (socket.AF_INET, "192.0.2.1")):
        seen = way.labels(family, target)
        assert all(len(set(labels)) == 1 for labels in seen), seen
        assert len({labels[0] for labels in seen} - {0}) == FLOWS


@pytest.mark.parametrize("how", [FlowLabel.PEER, FlowLabel.OFF])
def test_otherwise_all_packets_of_a_peer_have_one_or_none(
    make: Callable[[FlowLabel], Way], how: FlowLabel
) -> None:
    seen = make(how).labels(socket.AF_INET6, "2001:db8:a::1")
    [label] = {label for labels in seen for label in labels}
    assert (label == 0) == (how is FlowLabel.OFF)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("flow-labels"))


@pytest.mark.parametrize("how", list(FlowLabel), ids=lambda how: how.value)
def test_the_directive_rules_what_the_network_sees(
    ipv6_line: Line, authority: Authority, how: FlowLabel
) -> None:
    """Of data packets, with eight flows in the tunnel."""
    ends = start(ipv6_line, authority, OURS_OURS, client_extra=[f"flow-label {how.value}"])
    namespace = ipv6_line.client.full_name
    data = "ip6 and udp dst port 1194 and ip6[48] & 0xf8 = 72"
    with Capture(ipv6_line.underlay, filter_text=data) as seen:
        for _ in range(FLOWS):
            with in_netns(
                namespace, partial(socket.socket, socket.AF_INET6, socket.SOCK_DGRAM)
            ) as sender:
                sender.sendto(b"x" * 100, (SERVER_6, PORT))
        # What was sent before has passed when its answer is there.
        ping(ipv6_line.client, SERVER_6)
    labels = {int(label, 16) for label in seen.tshark("-T", "fields", "-e", "ipv6.flow").split()}
    assert labels
    assert (labels == {0}) == (how is FlowLabel.OFF)
    assert (len(labels) >= FLOWS) == (how is FlowLabel.FLOW)
    assert "data path: user space" in ends.client.log()


def own_a_label() -> socket.socket:
    """Somebody's socket with a label for itself alone."""
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    get, exclusive, create, seconds = 0, 1, 1, 6
    request = IPv6Address("::1").packed + (0x12345).to_bytes(4, "big")
    request += struct.pack("=BBHHHI", get, exclusive, create, seconds, 0, 0)
    sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FLOWLABEL_MGR, request)
    return sock


def test_where_somebody_owns_a_label_the_worker_sends_without_ours() -> None:
    with Lab() as lab:
        namespace = lab.namespace("a")
        namespace.set_up("lo")
        worker = in_netns(namespace.full_name, partial(Alone, flow_secret=SECRET))
        packets = [Inner(flow=flow).encode() for flow in range(3)]
        with in_netns(namespace.full_name, own_a_label):
            for packet in packets:
                worker.inside.send(WHOLE + packet)
            assert worker.opened(3) == packets
        [notice] = worker.reports(NOTICE)
        assert notice[3] == NO_LABEL
        assert worker.worker.errors() == {}
        worker.close()


def test_where_somebody_owns_a_label_the_python_link_sends_without_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "ovpn6.datapath")
    with Lab() as lab:
        namespace = lab.namespace("a")
        namespace.set_up("lo")
        counts: dict[str, int] = {}
        with (
            in_netns(namespace.full_name, own_a_label),
            in_netns(namespace.full_name, watching) as watcher,
            in_netns(namespace.full_name, watching) as sock,
        ):
            link = UdpLink(LinkId(1), sock, lambda *received: None, counts)
            for _ in range(2):
                link.send([b"x" * 100] * 3, watcher.getsockname(), 0, 0x54321)
            seen = [label_of(watcher) for _ in range(6)]
        assert None not in seen
        assert 0x54321 not in seen
        assert counts == {}
    assert caplog.text.count("no flow labels of ours") == 1
