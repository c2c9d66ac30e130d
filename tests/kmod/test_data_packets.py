"""The module's packet rules beside the Python reference."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.model.names import KeyId
from ovpn6.protocol.data_channel import OVERHEAD, PING, header_prefix
from ovpn6.protocol.packets import Opcode
from tests.datapath.packets import ip_packet
from tests.kmod.pure_files import decode_header, encode_header, ip_version, ping, verdict

OURS, NOT_OURS, REFUSED = range(3)


@given(st.integers(0, 7), st.integers(0, 0xFFFFFF), st.integers(0, 0xFFFFFFFF))
def test_a_header_is_that_of_the_reference(key_id: int, peer_id: int, packet_id: int) -> None:
    expected = header_prefix(KeyId(key_id), peer_id) + packet_id.to_bytes(4, "big")
    assert encode_header(key_id, peer_id, packet_id) == expected
    assert decode_header(expected) == (key_id, peer_id, packet_id)


@pytest.mark.parametrize("key_id", range(8))
@pytest.mark.parametrize("code", range(32))
def test_every_first_byte_goes_where_it_belongs(code: int, key_id: int) -> None:
    whole, empty = (verdict(code << 3 | key_id, OVERHEAD + more) for more in (1, 0))
    if code == Opcode.DATA_V2:
        assert (whole, empty) == (OURS, REFUSED)
    else:
        expected = REFUSED if code == Opcode.DATA_V1 else NOT_OURS
        assert (whole, empty) == (expected, expected)


@pytest.mark.parametrize(
    ("source", "destination", "version"),
    [("2001:db8::1", "2001:db8::2", 6), ("192.0.2.1", "192.0.2.2", 4)],
)
def test_an_inner_packet_has_its_whole_header(source: str, destination: str, version: int) -> None:
    packet = ip_packet(source, destination, b"")
    assert ip_version(packet) == version
    assert all(ip_version(packet[:length]) == 0 for length in range(len(packet)))


@given(st.binary(max_size=60))
def test_what_begins_otherwise_is_no_inner_packet(data: bytes) -> None:
    version = ip_version(data)
    assert version in (0, 4, 6)
    assert version == 0 or data[0] >> 4 == version


def test_a_ping_is_that_of_the_reference() -> None:
    assert ping() == PING
