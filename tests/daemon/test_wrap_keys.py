"""Keys around control packets, from configuration to a wrapper that its other end understands."""

from __future__ import annotations

import os
from ipaddress import IPv6Address

import pytest

from ovpn6.config.schema import Remote, WrapConfig, WrapMode
from ovpn6.daemon.wrap_keys import ClientKeys, server_wrapping
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.errors import ConfigError
from ovpn6.model.names import Instant, KeyId, LinkId, MessageId, SessionId, Transport
from ovpn6.protocol.acceptor import Acceptor, Reply
from ovpn6.protocol.packets import ControlPacket, Opcode
from ovpn6.protocol.static_key import StaticKey
from ovpn6.protocol.tls_crypt_v2 import ClientKey, ServerKey, timestamp_metadata
from tests.daemon.certificates import inline

NOW = Instant(1000.0)
WALL = 1_700_000_000.0
PATH = Path(LinkId(1), Endpoint(IPv6Address("2001:db8::9"), 40_000))
STATIC = StaticKey.generate(os.urandom).encode()
OTHER = StaticKey.generate(os.urandom).encode()
SERVER_V2 = ServerKey.generate(os.urandom)
CLIENT_V2 = ClientKey.generate(SERVER_V2, timestamp_metadata(int(WALL)), os.urandom).encode()
REMOTE = Remote("2001:db8::1")


def answered(server: WrapConfig, client: WrapConfig, remote: Remote = REMOTE) -> bool:
    """Whether the server answers the client's first packet."""
    keys = ClientKeys(client, (remote,)).at(WALL)
    wrapping = keys(remote)
    opcode = Opcode.CONTROL_HARD_RESET_CLIENT_V2
    if wrapping.wrapped_client_key:
        opcode = Opcode.CONTROL_HARD_RESET_CLIENT_V3
    packet = ControlPacket(opcode, KeyId(0), SessionId(os.urandom(8)), message_id=MessageId(0))
    datagram = wrapping.wrapper.wrap(packet.header(), packet.body(), NOW)
    acceptor = Acceptor(
        server_wrapping(server),
        secret=os.urandom(32),
        hand_window=60,
        rate=(0, 0),
        wall_offset=WALL,
    )
    verdict = acceptor.receive(
        PATH, datagram + wrapping.wrapped_client_key, NOW, transport=Transport.UDP
    )
    return isinstance(verdict, Reply)


def test_without_a_key_packets_are_plain() -> None:
    assert answered(WrapConfig(), WrapConfig())


def test_tls_auth_needs_directions_and_digests_that_fit() -> None:
    def wrap(direction: int | None, auth: str = "SHA256") -> WrapConfig:
        return WrapConfig(WrapMode.TLS_AUTH, inline(STATIC), direction, auth)

    assert answered(wrap(0), wrap(1))
    assert answered(wrap(None), wrap(None))
    assert not answered(wrap(0), wrap(0))
    assert not answered(wrap(0), wrap(1, "SHA512"))


def test_tls_crypt_needs_the_same_key() -> None:
    def wrap(text: str) -> WrapConfig:
        return WrapConfig(WrapMode.TLS_CRYPT, inline(text))

    assert answered(wrap(STATIC), wrap(STATIC))
    assert not answered(wrap(STATIC), wrap(OTHER))


def test_tls_crypt_v2() -> None:
    server = WrapConfig(WrapMode.TLS_CRYPT_V2, inline(SERVER_V2.encode()))
    assert answered(server, WrapConfig(WrapMode.TLS_CRYPT_V2, inline(CLIENT_V2)))


def test_a_connection_blocks_own_key_comes_first() -> None:
    remote = Remote("2001:db8::1", tls_crypt=inline(STATIC))
    server = WrapConfig(WrapMode.TLS_CRYPT, inline(STATIC))
    assert answered(server, WrapConfig(WrapMode.TLS_CRYPT, inline(OTHER)), remote)


def test_a_file_that_is_no_key_is_a_config_error_with_its_place() -> None:
    for mode in (WrapMode.TLS_AUTH, WrapMode.TLS_CRYPT, WrapMode.TLS_CRYPT_V2):
        wrap = WrapConfig(mode, inline("garbage"))
        with pytest.raises(ConfigError, match=rf"test\.conf:1: {mode.value}: "):
            server_wrapping(wrap)
        with pytest.raises(ConfigError, match=rf"test\.conf:1: {mode.value}: "):
            ClientKeys(wrap, (REMOTE,))
