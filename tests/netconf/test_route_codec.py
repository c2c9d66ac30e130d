"""pyroute2 reads our route messages as we mean them, and we read its own."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.netconf.route_codec import ROUTE_CODEC
from ovpn6.netlink.parts import rtmsg

HEADER = {
    "family": 10,
    "dst_len": 48,
    "src_len": 0,
    "tos": 0,
    "table": 254,
    "proto": 54,
    "scope": 253,
    "type": 1,
    "flags": 4,
}
DESTINATION, GATEWAY = IPv6Address("2001:db8::"), IPv6Address("fe80::1")
ATTRIBUTES: list[tuple[str, Any]] = [
    ("RTA_DST", DESTINATION.packed),
    ("RTA_TABLE", 70_000),
    ("RTA_PRIORITY", 1024),
    ("RTA_OIF", 3),
    ("RTA_GATEWAY", GATEWAY.packed),
    ("RTA_PREFSRC", DESTINATION.packed),
    ("RTA_METRICS", {"attrs": [("RTAX_MTU", 1280)]}),
]


def test_pyroute2_reads_what_we_write() -> None:
    message = rtmsg(ROUTE_CODEC.encode(24, 0x405, 7, HEADER, ATTRIBUTES))
    message.decode()
    assert {name: message[name] for name in HEADER} == HEADER
    header = message["header"]
    assert (header["type"], header["flags"], header["sequence_number"]) == (24, 0x405, 7)
    assert message.get_attr("RTA_DST") == str(DESTINATION)
    assert message.get_attr("RTA_GATEWAY") == str(GATEWAY)
    assert message.get_attr("RTA_PREFSRC") == str(DESTINATION)
    assert message.get_attr("RTA_TABLE") == 70_000
    assert message.get_attr("RTA_PRIORITY") == 1024
    assert message.get_attr("RTA_OIF") == 3
    assert message.get_attr("RTA_METRICS").get_attr("RTAX_MTU") == 1280


def test_we_read_what_pyroute2_writes() -> None:
    message = rtmsg()
    for name, value in HEADER.items():
        message[name] = value
    message["family"] = socket.AF_INET
    hop = {"oif": 4, "flags": 1, "attrs": [("RTA_GATEWAY", "192.0.2.1")]}
    message["attrs"] = [
        ("RTA_DST", "10.0.0.0"),
        ("RTA_MULTIPATH", [hop, {**hop, "oif": 5, "flags": 0}]),
        ("RTA_VIA", {"family": socket.AF_INET6, "addr": str(GATEWAY)}),
        ("RTA_METRICS", {"attrs": [("RTAX_HOPLIMIT", 9), ("RTAX_MTU", 1400)]}),
        ("RTA_IIF", 9),
    ]
    message.encode()
    read = ROUTE_CODEC.decode(bytes(message.data))
    gateway = ("RTA_GATEWAY", IPv4Address("192.0.2.1").packed)
    assert read["family"] == socket.AF_INET
    assert read["attrs"] == [
        ("RTA_DST", IPv4Address("10.0.0.0").packed),
        (
            "RTA_MULTIPATH",
            [
                {"oif": 4, "flags": 1, "attrs": [gateway]},
                {"oif": 5, "flags": 0, "attrs": [gateway]},
            ],
        ),
        ("RTA_VIA", {"family": socket.AF_INET6, "addr": GATEWAY.packed}),
        ("RTA_METRICS", {"attrs": [("RTAX_MTU", 1400)]}),
    ]


def test_what_we_write_we_read() -> None:
    written = [*ATTRIBUTES, ("RTA_VIA", {"family": 10, "addr": GATEWAY.packed})]
    assert ROUTE_CODEC.decode(ROUTE_CODEC.encode(24, 0, 1, HEADER, written)) == {
        **HEADER,
        "attrs": written,
    }


def test_an_unknown_attribute_is_our_mistake() -> None:
    with pytest.raises(TypeError):
        ROUTE_CODEC.encode(24, 0, 1, HEADER, [("RTA_CACHEINFO", 1)])


@given(st.binary(max_size=80))
def test_any_octets_are_a_message_or_a_value_error(body: bytes) -> None:
    packet = ROUTE_CODEC.encode(24, 0, 1, HEADER, [])
    for data in (body, packet + body):
        try:
            ROUTE_CODEC.decode(data)
        except ValueError:
            continue
