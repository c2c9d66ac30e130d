"""The user-space data path over loopback sockets; a socket pair stands for the TUN device."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest

from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.errors import HostError, UsageError
from ovpn6.model.flow import ControlReceived, LinkAccepted, LinkClosed
from ovpn6.model.names import Family, KeySlot, LinkId, PeerId, Transport
from ovpn6.model.specs import DeviceSpec, LinkSpec, PeerSpec, SocketOptions
from tests.datapath.contract import DatapathContract, Rig
from tests.datapath.loopback import LOOPBACK4, LOOPBACK6, LoopbackRig, in_python, natively
from tests.datapath.packets import ip_packet, key_pair

CONTROL = bytes([7 << 3]) + b"hello"


class TestOverIPv6(DatapathContract):
    def make_rig(self) -> Rig:
        return LoopbackRig(in_python, LOOPBACK6)


class TestOverIPv4(DatapathContract):
    def make_rig(self) -> Rig:
        return LoopbackRig(in_python, LOOPBACK4)


@pytest.fixture(params=["python", "native", "several workers"])
def rig(request: pytest.FixtureRequest) -> Iterator[LoopbackRig]:
    if request.param != "python":
        pytest.importorskip("ovpn6.datapath.fastpath._fastpath")
    workers = 1 if request.param == "native" else 4
    made = LoopbackRig(in_python if request.param == "python" else natively(workers=workers))
    yield made
    made.close()


def control_from(rig: LoopbackRig, end: int) -> list[ControlReceived]:
    return [report for report in rig.reports[end] if isinstance(report, ControlReceived)]


# --- UDP ----------------------------------------------------------------------------------------


def test_a_dual_stack_socket_calls_ipv4_peers_by_their_ipv4_address(rig: LoopbackRig) -> None:
    bound = rig.open(0, 2, LinkSpec(Transport.UDP))
    assert bound.address == IPv6Address("::")
    client = rig.open(1, 2, LinkSpec(Transport.UDP, local_address=LOOPBACK4))
    target = Path(LinkId(2), Endpoint(LOOPBACK4, bound.port))
    rig.ends[1].send_control(target, CONTROL)
    rig.until(lambda: bool(control_from(rig, 0)))
    assert control_from(rig, 0)[0].path == Path(LinkId(2), client)
    rig.ends[0].send_control(Path(LinkId(2), client), CONTROL + b"back")
    rig.until(lambda: bool(control_from(rig, 1)))
    assert control_from(rig, 1)[0].path == target


def test_an_ipv6_only_socket_does_not_hear_ipv4(rig: LoopbackRig) -> None:
    options = SocketOptions(ipv6_only=True)
    bound = rig.open(0, 2, LinkSpec(Transport.UDP, options=options))
    rig.open(1, 2, LinkSpec(Transport.UDP, family=Family.IPV4))
    rig.ends[1].send_control(Path(LinkId(2), Endpoint(LOOPBACK4, bound.port)), CONTROL)
    rig.ends[1].send_control(Path(LinkId(1), Endpoint(LOOPBACK6, bound.port)), CONTROL + b"6")
    rig.until(lambda: bool(control_from(rig, 0)))
    assert [report.datagram for report in control_from(rig, 0)] == [CONTROL + b"6"]


@pytest.mark.parametrize("family", [Family.IPV4, Family.ANY])
def test_multihome_answers_from_the_address_that_was_hit(rig: LoopbackRig, family: Family) -> None:
    options = SocketOptions(multihome=True)
    bound = rig.open(0, 2, LinkSpec(Transport.UDP, family=family, options=options))
    client = rig.open(1, 2, LinkSpec(Transport.UDP, local_address=LOOPBACK4))
    target = Endpoint(IPv4Address("127.0.0.77"), bound.port)
    rig.ends[1].send_control(Path(LinkId(2), target), CONTROL)
    rig.until(lambda: bool(control_from(rig, 0)))
    path = control_from(rig, 0)[0].path
    assert path == Path(LinkId(2), client, IPv4Address("127.0.0.77"))
    rig.ends[0].send_control(path, CONTROL)
    rig.until(lambda: bool(control_from(rig, 1)))
    assert control_from(rig, 1)[0].path.remote == target


def test_data_over_a_multihomed_link_answers_where_the_peer_knocked(rig: LoopbackRig) -> None:
    options = SocketOptions(multihome=True)
    bound = rig.open(0, 2, LinkSpec(Transport.UDP, options=options))
    client = rig.open(1, 2, LinkSpec(Transport.UDP, local_address=LOOPBACK4))
    target = Endpoint(IPv4Address("127.0.0.77"), bound.port)
    networks = (ip_network("::/0"),)
    # Not even a peer that may not float is refused: only our own address was unknown so far.
    spec = PeerSpec(PeerId(5), 5, Path(LinkId(2), client), networks, float_allowed=False)
    rig.ends[0].add_peer(spec)
    rig.ends[1].add_peer(replace(spec, path=Path(LinkId(2), target)))
    for end in (0, 1):
        rig.ends[end].install_key(PeerId(5), KeySlot.PRIMARY, key_pair(end))
    up, down = (
        ip_packet("2001:db8::5", "2001:db8::1", bytes(900)),
        ip_packet("2001:db8::1", "2001:db8::5", bytes(900)),
    )
    rig.enter(1, up)
    rig.until(lambda: rig.delivered(0) == [up])
    for _ in range(20):
        rig.enter(0, down)
    rig.until(lambda: rig.delivered(1) == [down] * 20)
    assert rig.ends[1].drops().counts == {}


def test_a_port_in_use_is_a_host_error(rig: LoopbackRig) -> None:
    taken = LinkSpec(Transport.UDP, local_address=LOOPBACK6, local_port=rig.local(0).port)
    with pytest.raises(HostError):
        rig.open(0, 2, taken)
    with pytest.raises(UsageError):
        rig.open(0, 1, LinkSpec(Transport.UDP))


def test_a_datagram_too_long_to_send_is_counted(rig: LoopbackRig) -> None:
    rig.ends[1].send_control(Path(LinkId(1), rig.local(0)), bytes(65_535))
    assert rig.ends[1].drops().counts == {"send EMSGSIZE": 1}


# --- TCP ----------------------------------------------------------------------------------------


def tcp_links(rig: LoopbackRig) -> tuple[LinkId, Endpoint]:
    """A connection from end 1, link 2; returns the accepted link and where it listens."""
    at = rig.open(0, 2, LinkSpec(Transport.TCP, local_address=LOOPBACK6))
    rig.open(1, 2, LinkSpec(Transport.TCP, remote=at))
    rig.until(lambda: any(isinstance(report, LinkAccepted) for report in rig.reports[0]))
    accepted = rig.reports[0][-1]
    assert isinstance(accepted, LinkAccepted)
    assert accepted.listener == LinkId(2)
    return accepted.link, at


def test_packets_cross_over_tcp(rig: LoopbackRig) -> None:
    link, at = tcp_links(rig)
    networks = (ip_network("::/0"),)
    remote = Endpoint(LOOPBACK6, 1)
    rig.ends[0].add_peer(PeerSpec(PeerId(5), 5, Path(link, remote), networks))
    rig.ends[1].add_peer(PeerSpec(PeerId(5), 5, Path(LinkId(2), at), networks))
    for end in (0, 1):
        rig.ends[end].install_key(PeerId(5), KeySlot.PRIMARY, key_pair(end))
    burst = [ip_packet("2001:db8::1", "2001:db8::5", bytes([i]) * 600) for i in range(100)]
    for packet in burst:
        rig.enter(0, packet)
    rig.until(lambda: len(rig.delivered(1)) == len(burst))
    assert rig.delivered(1) == burst


def test_frames_arrive_whole_however_the_stream_is_cut(rig: LoopbackRig) -> None:
    at = rig.open(0, 2, LinkSpec(Transport.TCP, local_address=LOOPBACK6))
    datagrams = [CONTROL, CONTROL + b"more", CONTROL + bytes(3000)]
    stream = b"".join(len(data).to_bytes(2, "big") + data for data in datagrams)
    with socket.create_connection(("::1", at.port)) as client:
        for cut in (stream[:1], stream[1:9], stream[9:1000], stream[1000:]):
            client.sendall(cut)
            rig.loop.run_until_complete(asyncio.sleep(0))
        rig.until(lambda: len(control_from(rig, 0)) == 3)
    assert [report.datagram for report in control_from(rig, 0)] == datagrams
    rig.until(lambda: isinstance(rig.reports[0][-1], LinkClosed))


@pytest.mark.parametrize("length", [b"\0\0", b"\xff\xff", b"GE", b"\x16\x03"])
def test_an_absurd_length_ends_the_connection(rig: LoopbackRig, length: bytes) -> None:
    at = rig.open(0, 2, LinkSpec(Transport.TCP, local_address=LOOPBACK6))
    with socket.create_connection(("::1", at.port)) as client:
        client.sendall(length + b"T / HTTP/1.1\r\n")
        rig.until(lambda: any(isinstance(report, LinkClosed) for report in rig.reports[0]))
    assert control_from(rig, 0) == []


def test_a_slow_connection_queues_so_much_and_no_more(rig: LoopbackRig) -> None:
    at = rig.open(0, 2, LinkSpec(Transport.TCP, local_address=LOOPBACK6))
    with socket.create_connection(("::1", at.port)) as client:
        rig.until(lambda: bool(rig.reports[0]))
        accepted = rig.reports[0][0]
        assert isinstance(accepted, LinkAccepted)
        path = Path(accepted.link, accepted.remote)
        sent = 0
        while not rig.ends[0].drops().counts.get("send tcp queue full"):
            rig.ends[0].send_control(path, bytes(4000))
            sent += 1
            assert sent < 100_000
        # What was taken arrives complete, in whole frames.
        received = 0
        expected = (sent - 1) * 4002
        client.setblocking(False)

        def read_more() -> bool:
            nonlocal received
            with contextlib.suppress(BlockingIOError):
                received += len(client.recv(1 << 20))
            return received >= expected

        rig.until(read_more)
        assert received == expected


def test_a_connection_that_is_refused_is_a_host_error(rig: LoopbackRig) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as unused:
        unused.bind(("::1", 0))
        nowhere = Endpoint(LOOPBACK6, unused.getsockname()[1])
        with pytest.raises(HostError, match="refused"):
            rig.open(1, 2, LinkSpec(Transport.TCP, remote=nowhere))


def test_a_link_that_the_remote_end_closes_is_reported(rig: LoopbackRig) -> None:
    link, _ = tcp_links(rig)
    rig.ends[1].close_link(LinkId(2))
    rig.until(lambda: rig.reports[0][-1] == LinkClosed(link, "closed by the remote end"))
    rig.ends[0].send_control(Path(link, Endpoint(LOOPBACK6, 1)), CONTROL)
    assert rig.ends[0].drops().counts == {"send closed link": 1}
    assert rig.reports[1] == []


# --- device -------------------------------------------------------------------------------------


def test_a_second_device_is_a_usage_error(rig: LoopbackRig) -> None:
    with pytest.raises(UsageError):
        rig.ends[0].open_device(DeviceSpec(), 1420)


def test_a_device_opens_again_after_it_was_closed(rig: LoopbackRig) -> None:
    rig.ends[0].close_device()
    rig.ends[0].close_device()
    assert rig.ends[0].open_device(DeviceSpec("tun8"), 1420) == "tun8"
