"""What two ends agree on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.model.names import Transport
from ovpn6.protocol.negotiation_rules import (
    IvProto,
    PeerCapabilities,
    choose_cipher,
    client_peer_info,
    options_string,
    options_words,
    parse_peer_info,
)

SERVER = ("AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305")


def capabilities(info: dict[str, str], options: str = "") -> PeerCapabilities:
    return PeerCapabilities.parse(info, options)


@pytest.mark.parametrize(
    ("info", "options", "fallback", "cipher"),
    [
        ({"IV_CIPHERS": "CHACHA20-POLY1305:AES-128-GCM"}, "", "", "AES-128-GCM"),
        ({"IV_CIPHERS": "AES-256-CBC"}, "", "AES-256-GCM", None),
        ({"IV_NCP": "2"}, "", "", "AES-256-GCM"),
        ({}, "V4,cipher AES-128-GCM", "", "AES-128-GCM"),
        ({}, "V4,cipher BF-CBC", "AES-256-GCM", None),
        ({}, "", "AES-256-GCM", "AES-256-GCM"),
        ({}, "", "", None),
        ({"IV_CIPHERS": "AES-192-GCM"}, "V4,cipher AES-256-GCM", "", None),
    ],
)
def test_first_cipher_of_the_server_that_the_client_takes(
    info: dict[str, str], options: str, fallback: str, cipher: str | None
) -> None:
    assert choose_cipher(SERVER, capabilities(info, options), fallback) == cipher


def test_our_own_peer_info_reads_back_as_what_we_can() -> None:
    text = client_peer_info(
        version="0.1.0",
        platform="linux",
        ciphers=SERVER,
        tun_mtu_max=1600,
        compression_stubs=True,
        extra=[("UV_SITE", "lab")],
    )
    info = parse_peer_info(text)
    own = capabilities(info)
    assert own.data_v2
    assert own.push_request_optional
    assert own.ekm
    assert own.auth_pending
    assert own.exit_notify
    assert own.auth_failed_temp
    assert own.dyn_tls_crypt
    assert own.ciphers == SERVER
    assert own.mtu == 1600
    assert info["UV_SITE"] == "lab"


@pytest.mark.parametrize("bit", [IvProto.DATA_EPOCH, IvProto.PUSH_UPDATE, IvProto.NCP_P2P])
def test_what_the_data_path_lacks_is_not_advertised(bit: IvProto) -> None:
    text = client_peer_info(
        version="1", platform="linux", ciphers=SERVER, tun_mtu_max=1600, compression_stubs=False
    )
    assert not capabilities(parse_peer_info(text)).has(bit)
    assert "IV_COMP" not in text


def test_the_epoch_format_is_advertised_where_the_data_path_has_it() -> None:
    text = client_peer_info(
        version="1",
        platform="linux",
        ciphers=SERVER,
        tun_mtu_max=1600,
        compression_stubs=False,
        data_epoch=True,
    )
    assert capabilities(parse_peer_info(text)).data_epoch
    assert not capabilities({"IV_PROTO": "990"}).data_epoch


@pytest.mark.parametrize("ecn", [False, True])
def test_a_client_says_that_it_carries_marks_when_its_data_path_does(ecn: bool) -> None:
    text = client_peer_info(
        version="1",
        platform="linux",
        ciphers=SERVER,
        tun_mtu_max=1600,
        compression_stubs=False,
        ecn=ecn,
    )
    assert capabilities(parse_peer_info(text)).ecn == ecn


def test_a_client_says_that_it_answers_numbered_probes_and_a_stock_one_does_not() -> None:
    text = client_peer_info(
        version="1", platform="linux", ciphers=SERVER, tun_mtu_max=1600, compression_stubs=False
    )
    assert capabilities(parse_peer_info(text)).numbered_probes
    assert not capabilities({"IV_PROTO": "990"}).numbered_probes
    assert not capabilities({"IV_NUMBERED_PROBES": "0"}).numbered_probes


@given(st.text())
def test_any_peer_info_gives_printable_lines(text: str) -> None:
    for name, value in parse_peer_info(text).items():
        assert name.isascii()
        assert name.isprintable()
        assert value.isprintable()
    capabilities(parse_peer_info(text), text)


def test_hostile_peer_info_names_do_not_reach_environments() -> None:
    text = "IV_OK=1\nLD PRELOAD=x\nA\x00B=2\n=3\nIV_X=a\x1b[2J\nPATH;=4\n"
    assert parse_peer_info(text) == {"IV_OK": "1"}


def test_options_string_names_the_v4_protocol_whatever_the_family() -> None:
    words = options_words(
        options_string(
            is_server=True, transport=Transport.TCP, tun_mtu=1420, tls_auth=True, key_direction=0
        )
    )
    assert words["proto"] == "TCPv4_SERVER"
    assert words["tun-mtu"] == "1420"
    assert words["keydir"] == "0"
    assert {"tls-auth", "tls-server"} <= set(words)
