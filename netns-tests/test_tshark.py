"""A capture of the handshake, read by a program that nobody here wrote: tshark's dissector."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from interop import wire
from interop.ends import INNER, PAIRINGS, Pairing, make_authority, start

from ovpn6.lab import Capture, Line, ping
from ovpn6.pki.authority import Authority
from ovpn6.pki.profile import Wrap

pytestmark = pytest.mark.root

WARNING = 0x600000
"""tshark's severity of a warning; errors and malformed packets are above it."""

CLIENT_HELLO, SERVER_HELLO = 1, 2

PROBE_PADDING = bytes(64).hex()
"""Zeros that no TLS record ends with: a probe of the path's size does (docs/decisions)."""

# Post-quantum hellos span packets, which this dissector does not join: it would read TLS from the
# middle of a record.
ONE_PACKET_HELLO = "tls-groups X25519"

_AS_OPENVPN = ("-d", "udp.port==1194,openvpn")
_HMAC = ("openvpn.tls_auth_detection_override:TRUE", "openvpn.tls_auth:TRUE")
_CRYPT = (*_HMAC, "openvpn.tls_crypt:TRUE", "openvpn.tls_auth_hmac_size:32")
PREFERENCES = {
    Wrap.NONE: ("openvpn.tls_auth_detection_override:TRUE",),
    Wrap.TLS_AUTH: _HMAC,
    Wrap.TLS_CRYPT: _CRYPT,
    Wrap.TLS_CRYPT_V2: _CRYPT,
}
FIRST_OPCODES = {
    Wrap.NONE: (wire.HARD_RESET_CLIENT, wire.HARD_RESET_SERVER, wire.CONTROL),
    Wrap.TLS_AUTH: (wire.HARD_RESET_CLIENT, wire.HARD_RESET_SERVER, wire.CONTROL),
    Wrap.TLS_CRYPT: (wire.HARD_RESET_CLIENT, wire.HARD_RESET_SERVER, wire.CONTROL),
    Wrap.TLS_CRYPT_V2: (wire.HARD_RESET_CLIENT_V3, wire.HARD_RESET_SERVER, wire.CONTROL_WKC),
}


FIELDS = (
    "ipv6.src",
    "openvpn.opcode",
    "openvpn.keyid",
    "openvpn.mpid",
    "openvpn.pid",
    "tls.handshake.type",
    "udp.payload",
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What tshark reads in one packet; None where there is no such field."""

    source: str
    opcode: int
    key_id: int
    message_id: int | None
    replay_id: int | None
    tls_messages: tuple[int, ...]
    is_probe: bool


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("tshark"))


@pytest.mark.parametrize("wrap", Wrap, ids=lambda wrap: wrap.value)
@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_a_handshake_reads_without_a_complaint(
    ipv6_line: Line, authority: Authority, pairing: Pairing, wrap: Wrap
) -> None:
    capture = _record(ipv6_line, authority, pairing, wrap)

    complaints = f"_ws.malformed or _ws.expert.severity >= {WARNING}"
    assert _tshark(capture, wrap, "-Y", complaints) == []
    assert _tshark(capture, wrap, "-Y", "not openvpn") == []

    seen = _dissect(capture, wrap)
    assert tuple(packet.opcode for packet in seen[:3]) == FIRST_OPCODES[wrap]
    assert {packet.key_id for packet in seen} == {0}
    control = {wire.CONTROL, wire.CONTROL_WKC}
    assert {packet.opcode for packet in seen[2:]} - control == {wire.ACK, wire.DATA}


@pytest.mark.parametrize("wrap", [Wrap.NONE, Wrap.TLS_AUTH], ids=lambda wrap: wrap.value)
@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_what_is_in_clear_is_tls_in_order_and_sent_once(
    ipv6_line: Line, authority: Authority, pairing: Pairing, wrap: Wrap
) -> None:
    net = ipv6_line
    seen = _dissect(_record(net, authority, pairing, wrap, goodbye=False), wrap)

    hellos = [kind for packet in seen for kind in packet.tls_messages]
    assert hellos[:2] == [CLIENT_HELLO, SERVER_HELLO]
    for source in (str(net.client_addresses[0]), str(net.server_address)):
        own = [packet for packet in seen if packet.source == source]
        # No gap, and on a path that loses nothing no repetition but by a probe.
        messages = [packet for packet in own if packet.message_id is not None]
        ids = [packet.message_id for packet in messages if not packet.is_probe]
        assert ids == list(range(len(ids)))
        assert {packet.message_id for packet in messages if packet.is_probe} <= set(ids)
        if wrap is Wrap.TLS_AUTH:
            replay_ids = [packet.replay_id for packet in own if packet.replay_id is not None]
            assert replay_ids == list(range(1, len(replay_ids) + 1))


def _record(
    net: Line, authority: Authority, pairing: Pairing, wrap: Wrap, *, goodbye: bool = True
) -> Capture:
    """A tunnel from its first packet to its last; without ``goodbye``, what a server tells a client
    that has left already, and tells it again, is not in it."""
    lines = [ONE_PACKET_HELLO]
    with wire.watch(net) as capture:
        ends = start(net, authority, pairing, wrap=wrap, server_extra=lines, client_extra=lines)
        for address in INNER:
            assert ping(net.client, address).complete
        if goodbye:
            ends.client.stop()
            ends.server.stop()
    return capture


def _dissect(capture: Capture, wrap: Wrap) -> list[Seen]:
    wanted = [word for field in FIELDS for word in ("-e", field)]
    return [_seen(line) for line in _tshark(capture, wrap, "-T", "fields", *wanted)]


def _seen(line: str) -> Seen:
    source, opcode, key_id, message_id, replay_id, tls, payload = line.split("\t")
    return Seen(
        source,
        int(opcode, 16),
        int(key_id),
        int(message_id) if message_id else None,
        int(replay_id) if replay_id else None,
        tuple(int(kind) for kind in tls.split(",") if kind),
        payload.endswith(PROBE_PADDING),
    )


def _tshark(capture: Capture, wrap: Wrap, *arguments: str) -> list[str]:
    """The lines that tshark prints, without its warning that it runs as root."""
    preferences = [word for text in PREFERENCES[wrap] for word in ("-o", text)]
    printed = capture.tshark(*_AS_OPENVPN, *preferences, *arguments)
    return [line for line in printed.splitlines() if not line.startswith("Running as user")]
