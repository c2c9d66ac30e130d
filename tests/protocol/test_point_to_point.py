"""What two equal ends agree on: the same from both sides, or a reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.model.names import NO_PEER_ID
from ovpn6.protocol.negotiation_rules import IvProto, PeerCapabilities, parse_peer_info
from ovpn6.protocol.point_to_point import (
    FIXED_PEER_ID,
    Agreement,
    Disagreement,
    agree,
    differences,
    peer_info,
)

ALL = ("AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305")
CIPHERS = st.lists(st.sampled_from(ALL), min_size=1, unique=True)
OURS = "V4,dev-type tun,tun-mtu 1420,proto UDPv4,ifconfig 10.0.0.2 10.0.0.1,tls-server"
NOTHING = IvProto(0)


def export(label: str, length: int) -> bytes:
    assert label == "EXPORTER-OpenVPN-p2p-peerid"
    return bytes((1, 2, 3))[:length]


def capabilities(ciphers: tuple[str, ...], without: IvProto = NOTHING) -> PeerCapabilities:
    info = parse_peer_info(peer_info(ciphers))
    info["IV_PROTO"] = str(int(info["IV_PROTO"]) & ~int(without))
    return PeerCapabilities.parse(info, "V4,tls-client")


@given(CIPHERS, CIPHERS)
def test_both_ends_draw_the_same_conclusion(server: list[str], client: list[str]) -> None:
    def conclude(own: list[str], other: list[str], *, is_server: bool) -> Agreement | None:
        try:
            return agree(own, "", capabilities(tuple(other)), export, is_server=is_server)
        except Disagreement:
            return None

    ours = conclude(server, client, is_server=True)
    assert ours == conclude(client, server, is_server=False)
    if ours is None:
        assert not set(server) & set(client)
    else:
        assert ours.cipher == next(cipher for cipher in server if cipher in client)


def test_every_ability_of_a_present_peer_is_used() -> None:
    found = agree(ALL, "", capabilities(ALL), export, is_server=True)
    assert (found.use_ekm, found.dynamic_tls_crypt, found.control_exit) == (True, True, True)
    assert found.peer == 0x010203
    assert str(found) == (
        "P2P mode NCP negotiation result: TLS_export=1, DATA_v2=1, peer-id 66051, "
        "cipher=AES-256-GCM"
    )


@pytest.mark.parametrize("known", [True, False])
def test_probes_are_numbered_for_a_peer_that_says_it_answers_them(known: bool) -> None:
    info = parse_peer_info(peer_info(ALL))
    if not known:
        del info["IV_NUMBERED_PROBES"]
    peer = PeerCapabilities.parse(info, "V4,tls-client")
    assert agree(ALL, "", peer, export, is_server=True).numbered_probes == known


def test_without_exporter_the_peer_id_is_openvpn_s_fixed_one() -> None:
    peer = capabilities(ALL, IvProto.TLS_KEY_EXPORT)
    found = agree(ALL, "", peer, export, is_server=False)
    assert found.peer == FIXED_PEER_ID
    assert not found.use_ekm


@pytest.mark.parametrize("missing", [IvProto.NCP_P2P, IvProto.DATA_V2])
def test_data_packets_of_version_1_are_refused_with_a_reason(missing: IvProto) -> None:
    with pytest.raises(Disagreement, match="version 1, which is not supported"):
        agree(ALL, "", capabilities(ALL, missing), export, is_server=True)


def test_a_peer_id_that_means_none_is_refused() -> None:
    with pytest.raises(Disagreement, match="peer id"):
        agree(
            ALL,
            "",
            capabilities(ALL),
            lambda label, length: NO_PEER_ID.to_bytes(length, "big"),
            is_server=True,
        )


def test_the_fallback_serves_a_peer_without_a_list() -> None:
    info = {"IV_PROTO": parse_peer_info(peer_info(ALL))["IV_PROTO"]}
    peer = PeerCapabilities.parse(info, "V4,tls-client")
    assert agree(ALL, "AES-128-GCM", peer, export, is_server=True).cipher == "AES-128-GCM"
    with pytest.raises(Disagreement, match="there unknown"):
        agree(ALL, "AES-256-CBC", peer, export, is_server=True)


def test_the_same_options_have_no_difference() -> None:
    assert differences(OURS, OURS) == []


def test_differences_are_told_in_openvpn_s_words() -> None:
    theirs = OURS.replace("tun-mtu 1420", "tun-mtu 1500").replace(
        "ifconfig 10.0.0.2 10.0.0.1,", "comp-lzo,proto TCPv4_CLIENT,"
    )
    assert differences(OURS, theirs) == [
        "WARNING: 'tun-mtu' is used inconsistently, local='tun-mtu 1420', remote='tun-mtu 1500'",
        "WARNING: 'ifconfig' is present in local config but missing in remote config, "
        "local='ifconfig 10.0.0.2 10.0.0.1'",
        "WARNING: 'comp-lzo' is present in remote config but missing in local config, "
        "remote='comp-lzo'",
    ]


@given(st.text(max_size=200))
def test_any_options_string_can_be_compared(text: str) -> None:
    assert all(line.startswith("WARNING: ") for line in differences(OURS, text))
