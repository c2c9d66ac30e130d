"""The layout of control packets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.model.errors import PeerError
from ovpn6.model.names import KeyId, MessageId, SessionId
from ovpn6.protocol.packets import (
    DATA_OPCODES,
    HEADER_SIZE,
    ControlPacket,
    Opcode,
    decode_control,
    decode_first_byte,
    encode_first_byte,
)

sids = st.binary(min_size=8, max_size=8).map(SessionId)
u32 = st.integers(0, 2**32 - 1).map(MessageId)


@st.composite
def packets(draw: st.DrawFn) -> ControlPacket:
    opcode = draw(st.sampled_from([o for o in Opcode if o not in DATA_OPCODES]))
    acks = tuple(draw(st.lists(u32, max_size=8)))
    pure_ack = opcode is Opcode.ACK_V1
    return ControlPacket(
        opcode=opcode,
        key_id=KeyId(draw(st.integers(0, 7))),
        session_id=draw(sids),
        acks=acks,
        remote_session_id=draw(sids) if acks else None,
        message_id=None if pure_ack else draw(u32),
        payload=draw(st.binary(max_size=100)),
    )


@given(packets())
def test_packet_round_trips(packet: ControlPacket) -> None:
    assert decode_control(packet.header(), packet.body()) == packet


@given(st.binary(max_size=120))
def test_any_bytes_are_a_packet_or_an_error_of_the_peer(data: bytes) -> None:
    try:
        packet = decode_control(data[:HEADER_SIZE], data[HEADER_SIZE:])
    except PeerError:
        return
    assert packet.header() == data[:HEADER_SIZE]


def test_acks_are_four_bytes_and_the_remote_session_id_follows_them() -> None:
    packet = ControlPacket(
        Opcode.CONTROL_V1,
        KeyId(2),
        SessionId(b"AAAAAAAA"),
        (MessageId(1),),
        SessionId(b"BBBBBBBB"),
        MessageId(5),
        b"tls",
    )
    assert packet.header().hex() == "22" + b"AAAAAAAA".hex()
    assert packet.body().hex() == "01" + "00000001" + b"BBBBBBBB".hex() + "00000005" + b"tls".hex()


def test_nine_acks_are_refused() -> None:
    header = bytes([encode_first_byte(Opcode.ACK_V1, KeyId(0))]) + bytes(8)
    with pytest.raises(PeerError, match="more than eight acks"):
        decode_control(header, b"\x09" + bytes(9 * 4 + 8))


@pytest.mark.parametrize("value", range(256))
def test_first_byte_is_opcode_and_key_id_or_refused(value: int) -> None:
    known = value >> 3 in set(Opcode)
    if not known:
        with pytest.raises(PeerError):
            decode_first_byte(value)
        return
    assert encode_first_byte(*decode_first_byte(value)) == value
