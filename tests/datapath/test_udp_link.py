"""Trains of datagrams: what is joined is what would have gone singly."""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.datapath.sockaddr import to_endpoint, to_sockaddr
from ovpn6.datapath.udp_link import (
    MAX_TRAIN,
    MAX_TRAIN_OCTETS,
    UDP_GRO,
    UDP_SEGMENT,
    UdpLink,
    split_train,
    train_end,
)
from ovpn6.model.addresses import Endpoint
from ovpn6.model.errors import UsageError
from ovpn6.model.names import LinkId

SIZES = st.lists(st.sampled_from([0, 1, 40, 100, 1444, 9000, 65_000]), min_size=1, max_size=150)


@given(sizes=SIZES)
def test_trains_cover_everything_and_the_kernel_would_cut_them_alike(sizes: list[int]) -> None:
    datagrams = [bytes([i % 256]) * size for i, size in enumerate(sizes)]
    start = 0
    while start < len(datagrams):
        size = len(datagrams[start])
        end = train_end(datagrams, start, size) if size else start + 1
        train = datagrams[start:end]
        assert 1 <= len(train) <= MAX_TRAIN
        joined = b"".join(train)
        if len(train) > 1:
            assert len(joined) <= MAX_TRAIN_OCTETS
            cut = [joined[at : at + size] for at in range(0, len(joined), size)]
            assert cut == train
        start = end
    assert start == len(datagrams)


@given(data=st.binary(max_size=300), size=st.integers(-1, 400))
def test_a_merged_train_splits_into_all_its_octets(data: bytes, size: int) -> None:
    parts = split_train(data, [(socket.SOL_UDP, UDP_GRO, struct.pack("=i", size))])
    assert b"".join(parts) == data
    if 0 < size < len(data):
        assert {len(part) for part in parts[:-1]} == {size}


@pytest.mark.parametrize(
    ("endpoint", "family", "sockaddr"),
    [
        ("2001:db8::1", socket.AF_INET6, ("2001:db8::1", 7, 0, 0)),
        ("192.0.2.1", socket.AF_INET6, ("::ffff:192.0.2.1", 7, 0, 0)),
        ("192.0.2.1", socket.AF_INET, ("192.0.2.1", 7)),
    ],
)
def test_addresses_have_the_kernels_spelling(
    endpoint: str, family: int, sockaddr: tuple[str, int]
) -> None:
    address = IPv6Address(endpoint) if ":" in endpoint else IPv4Address(endpoint)
    assert to_sockaddr(Endpoint(address, 7), family) == sockaddr
    assert to_endpoint(sockaddr) == Endpoint(address, 7)


def test_link_local_addresses_keep_their_interface() -> None:
    endpoint = Endpoint(IPv6Address("fe80::1"), 7, 3)
    assert to_sockaddr(endpoint, socket.AF_INET6) == ("fe80::1", 7, 0, 3)
    assert to_endpoint(("fe80::1%eth0", 7, 0, 3)) == endpoint


def test_an_ipv6_address_on_an_ipv4_socket_is_our_mistake() -> None:
    with pytest.raises(UsageError):
        to_sockaddr(Endpoint(IPv6Address("2001:db8::1"), 7), socket.AF_INET)


class NoTrains(socket.socket):
    """A socket that refuses trains: out of a device that cannot finish checksums (EIO), or beyond a
    path's MTU (EMSGSIZE, in older kernels EINVAL)."""

    refusal = errno.EIO
    refusals = 0

    def sendmsg(self, buffers, ancdata=(), flags=0, address=None):  # type: ignore[no-untyped-def]
        if any(kind == UDP_SEGMENT for _, kind, _ in ancdata):
            self.refusals += 1
            raise OSError(self.refusal, os.strerror(self.refusal))
        return super().sendmsg(buffers, ancdata, flags, address)


class OldKernel(NoTrains):
    """A socket of a kernel that knows trains in neither direction, and so would not refuse one."""

    def setsockopt(self, level, option, *value):  # type: ignore[no-untyped-def]
        if (level, option) == (socket.SOL_UDP, UDP_GRO):
            raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))
        super().setsockopt(level, option, *value)

    def getsockopt(self, level, option, *size):  # type: ignore[no-untyped-def]
        if (level, option) == (socket.SOL_UDP, UDP_SEGMENT):
            raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))
        return super().getsockopt(level, option, *size)


def send_twice(sock: socket.socket) -> None:
    """Two trains over a link with this socket arrive as single datagrams."""
    datagrams = [bytes([number]) * 100 for number in range(5)]
    with sock, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as receiver:
        sock.bind(("::1", 0))
        receiver.bind(("::1", 0))
        receiver.settimeout(5)
        counts: dict[str, int] = {}
        link = UdpLink(LinkId(1), sock, lambda *received: None, counts)
        for _ in range(2):
            link.send(datagrams, receiver.getsockname())
            assert [receiver.recv(200) for _ in datagrams] == datagrams
        assert counts == {}


def test_a_device_that_takes_no_trains_is_asked_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ovpn6.datapath")
    sock = NoTrains(socket.AF_INET6, socket.SOCK_DGRAM)
    send_twice(sock)
    assert sock.refusals == 1
    assert caplog.text.count("one datagram a send call") == 1


@pytest.mark.parametrize("refusal", [errno.EMSGSIZE, errno.EINVAL], ids=errno.errorcode.get)
def test_a_narrow_path_of_one_peer_takes_no_trains_from_the_others(
    refusal: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ovpn6.datapath")
    sock = NoTrains(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.refusal = refusal
    send_twice(sock)
    assert sock.refusals == 2
    assert "one datagram a send call" not in caplog.text


def test_a_kernel_without_trains_is_never_sent_one(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ovpn6.datapath")
    sock = OldKernel(socket.AF_INET6, socket.SOCK_DGRAM)
    send_twice(sock)
    assert sock.refusals == 0
    assert caplog.text.count("one datagram a send call (Protocol not available)") == 1
    assert caplog.text.count("one datagram a receive call (Protocol not available)") == 1


@pytest.mark.parametrize("target", ["::1", "::ffff:127.0.0.1"])
def test_a_traffic_class_goes_out_and_comes_in(target: str) -> None:
    taken: list[tuple[list[bytes], int]] = []
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as first,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as second,
    ):
        for sock in (first, second):
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind(("::", 0))
        first.setblocking(False)
        counts: dict[str, int] = {}
        receiver = UdpLink(
            LinkId(1),
            first,
            lambda link, datagrams, source, value: taken.append((list(datagrams), value)),
            counts,
        )
        sender = UdpLink(LinkId(2), second, lambda *received: None, counts)
        address = (target, first.getsockname()[1], 0, 0)
        for value in (0, 0xBB, 0x01):
            sender.send([b"x" * 100] * 3, address, value)
            select.select([first], [], [], 5)
            receiver.readable()
        assert counts == {}
    assert [value for _, value in taken] == [0, 0xBB, 0x01]
    assert [b"".join(datagrams) for datagrams, _ in taken] == [b"x" * 300] * 3
