"""Errors in the kernel's own words, and several messages in one datagram."""

from __future__ import annotations

import errno
import struct

import pytest

from ovpn6.model.errors import HostError
from ovpn6.netlink.conversation import raise_error, split

ERROR, DONE = 2, 3
CAPPED, HAS_TLVS = 0x100, 0x200
REQUEST_HEADER = struct.pack("=IHHII", 20, 36, 5, 1, 0)


def message(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def refusal(code: int, *attributes: bytes) -> bytes:
    """``NLMSG_ERROR`` with extended acknowledgement."""
    body = struct.pack("=i", -code) + REQUEST_HEADER + b"".join(attributes)
    return message(ERROR, HAS_TLVS | CAPPED, body)


def error_of(packet: bytes) -> HostError:
    (found,) = split(packet)
    kind, flags, _, whole = found
    with pytest.raises(HostError) as caught:
        raise_error("add peer 5", kind, flags, whole)
    return caught.value


def test_the_kernels_text_is_the_reason() -> None:
    error = error_of(refusal(errno.EINVAL, attribute(1, b"at least one VPN IP\0")))
    assert str(error) == "add peer 5: at least one VPN IP"
    assert error.operation == "add peer 5"
    assert error.errno == errno.EINVAL


def test_an_error_without_text_has_that_of_its_number() -> None:
    error = error_of(refusal(errno.ENOENT))
    assert str(error) == "add peer 5: No such file or directory"


def test_a_missing_attribute_is_named() -> None:
    missing = attribute(5, struct.pack("=I", 6)) + attribute(6, struct.pack("=I", 28))
    assert str(error_of(refusal(errno.EINVAL, missing))) == "add peer 5: attribute 6 is missing"


def test_an_error_at_the_end_of_a_dump_is_raised() -> None:
    body = struct.pack("=i", -errno.ENODEV) + attribute(1, b"no such device\0")
    assert error_of(message(DONE, HAS_TLVS, body)).errno == errno.ENODEV


@pytest.mark.parametrize("kind", [ERROR, DONE])
@pytest.mark.parametrize("body", [struct.pack("=i", 0) + REQUEST_HEADER, b"", b"\0"])
def test_success_raises_nothing(kind: int, body: bytes) -> None:
    raise_error("add peer 5", kind, 0, message(kind, 0, body))


def test_several_messages_come_out_of_one_datagram() -> None:
    first, second = message(36, 0, b"odd"), message(37, 2, b"")
    found = list(split(first + b"\0" + second))
    assert [(kind, packet) for kind, _, _, packet in found] == [(36, first), (37, second)]


@pytest.mark.parametrize("data", [b"", b"short", bytes(40)])
def test_what_is_no_message_does_not_loop(data: bytes) -> None:
    assert len(list(split(data))) <= len(data) // 16
