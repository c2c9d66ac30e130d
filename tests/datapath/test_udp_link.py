"""Trains of datagrams: what is joined is what would have gone singly."""

from __future__ import annotations

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
    split_train,
    train_end,
)
from ovpn6.model.addresses import Endpoint
from ovpn6.model.errors import UsageError

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
