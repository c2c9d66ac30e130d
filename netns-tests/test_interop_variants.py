"""Settings beside the matrix: digests, key types, TLS 1.2, dual stack, framing, long pushes."""

from __future__ import annotations

import re
from ipaddress import IPv6Network
from pathlib import Path

import pytest
from interop import wire
from interop.ends import (
    INNER,
    OUR_CLIENT,
    OUR_SERVER,
    OURS_STOCK,
    PAIRINGS,
    Ends,
    Pairing,
    client_text,
    make_authority,
    server_text,
    start,
    without_line,
)
from interop.streams import Stream

from ovpn6.lab import Lab, Line, Underlay, line, ping, transfer, wait_for
from ovpn6.pki.authority import Authority
from ovpn6.pki.certificates import KeyType
from ovpn6.pki.profile import RemoteLine, Wrap

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("data_path")]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("variants"))


def _check(ends: Ends) -> None:
    for address in INNER:
        assert ping(ends.net.client, address).complete, address
        assert transfer(ends.net.client, ends.net.server, address), address


# --- control channel ---


@pytest.mark.parametrize("digest", ["SHA1", "SHA256", "SHA512"])
@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_tls_auth_without_a_direction_and_with_other_digests(
    ipv6_line: Line, authority: Authority, pairing: Pairing, digest: str
) -> None:
    """One key for both ways, as in configurations without ``key-direction``."""
    net = ipv6_line
    lines = (f"auth {digest}",)
    text = server_text(authority, *lines, wrap=Wrap.TLS_AUTH)
    server = pairing.server.start(net.server, without_line(text, "key-direction 0"), "server")
    server.wait_up()
    remote = RemoteLine(str(net.server_address), protocol="udp6")
    text = client_text(authority, remote, *lines, wrap=Wrap.TLS_AUTH)
    client = pairing.client.start(net.client, without_line(text, "key-direction 1"), "client")
    client.wait_up()
    _check(Ends(net, server, client))


@pytest.mark.parametrize("wrap", [Wrap.TLS_CRYPT, Wrap.NONE], ids=lambda wrap: wrap.value)
@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_tls_1_2_carries_a_tunnel_through_renegotiations(
    ipv6_line: Line, authority: Authority, pairing: Pairing, wrap: Wrap
) -> None:
    net = ipv6_line
    with wire.watch(net) as capture:
        ends = start(
            net,
            authority,
            pairing,
            wrap=wrap,
            server_extra=["tls-version-max 1.2", "reneg-sec 3"],
            client_extra=["reneg-sec 0"],
        )
        with Stream(ends) as stream:
            client = str(net.client_addresses[0])
            wait_for(
                lambda: {0, 1, 2} <= wire.data_key_ids(wire.packets(capture), client),
                20,
                "data under the keys of two renegotiations",
                [ends.server.process, ends.client.process],
            )
            result = stream.result()
    assert result.lost == 0, result
    assert "TLSv1.2" in ends.client.log()


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_ed25519_certificates_are_understood(
    ipv6_line: Line, tmp_path: Path, pairing: Pairing
) -> None:
    authority = Authority.create(tmp_path / "pki", KeyType.ED25519)
    authority.issue_server("server")
    authority.issue_client("client")
    _check(start(ipv6_line, authority, pairing))


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_a_server_that_insists_on_cookies_takes_clients_that_know_them(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    key = authority.files.tls_crypt_v2_server
    text = server_text(authority, f"tls-crypt-v2 {key} force-cookie", wrap=Wrap.NONE)
    server = pairing.server.start(net.server, text, "server")
    server.wait_up()
    remote = RemoteLine(str(net.server_address), protocol="udp6")
    text = client_text(authority, remote, wrap=Wrap.TLS_CRYPT_V2)
    client = pairing.client.start(net.client, text, "client")
    client.wait_up()
    _check(Ends(net, server, client))


# --- underlay ---


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_one_ipv6_socket_serves_both_families(
    dual_line: Line, authority: Authority, pairing: Pairing, transport: str
) -> None:
    net = dual_line
    text = server_text(authority, protocol=f"{transport}6")
    server = pairing.server.start(net.server, text, "server")
    server.wait_up()
    for address in net.server_addresses:
        remote = RemoteLine(str(address), protocol=f"{transport}{address.version}")
        client = pairing.client.start(net.client, client_text(authority, remote), "client")
        client.wait_up()
        _check(Ends(net, server, client))
        client.stop()


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_a_tunnel_over_tcp_and_ipv4(
    ipv4_line: Line, authority: Authority, pairing: Pairing
) -> None:
    _check(start(ipv4_line, authority, pairing, transport="tcp"))


@pytest.mark.parametrize("wrap", [Wrap.TLS_CRYPT, Wrap.TLS_CRYPT_V2], ids=lambda wrap: wrap.value)
@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_a_tunnel_over_the_smallest_ipv6_path(
    lab: Lab, authority: Authority, pairing: Pairing, wrap: Wrap
) -> None:
    """1280 bytes: control packets and inner ones of 1420 cross in fragments."""
    _check(start(line(lab, Underlay.IPV6, mtu=1280), authority, pairing, wrap=wrap))


@pytest.mark.parametrize("wrap", [Wrap.TLS_CRYPT, Wrap.TLS_CRYPT_V2], ids=lambda wrap: wrap.value)
@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_a_handshake_gets_through_a_path_that_loses_every_fifth_packet(
    ipv6_line: Line, authority: Authority, pairing: Pairing, wrap: Wrap
) -> None:
    ipv6_line.underlay.nft(
        "table inet loss { chain forward {"
        " type filter hook forward priority 0; numgen inc mod 5 == 0 drop; }; }"
    )
    ends = start(ipv6_line, authority, pairing, wrap=wrap)
    assert transfer(ends.net.client, ends.net.server, INNER[0], 100_000)


# --- data channel ---


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_aes_192_is_agreed_on(ipv6_line: Line, authority: Authority, pairing: Pairing) -> None:
    lines = ["data-ciphers AES-192-GCM"]
    ends = start(ipv6_line, authority, pairing, server_extra=lines, client_extra=lines)
    _check(ends)
    assert ends.client_row().cipher == "AES-192-GCM"


@pytest.mark.parametrize("framing", ["comp-lzo no", "compress stub-v2"])
@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_the_framing_of_uncompressed_packets_is_understood(
    ipv6_line: Line, authority: Authority, pairing: Pairing, framing: str
) -> None:
    _check(start(ipv6_line, authority, pairing, server_extra=[framing], client_extra=[framing]))


@pytest.mark.parametrize("framing", ["comp-lzo no", "compress stub-v2"])
@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_a_pushed_framing_is_understood(
    ipv6_line: Line, authority: Authority, pairing: Pairing, framing: str
) -> None:
    lines = [framing, f'push "{framing}"']
    _check(start(ipv6_line, authority, pairing, server_extra=lines))


@pytest.mark.parametrize("asked", ["comp-lzo no", "comp-lzo", "compress lz4-v2", "compress"])
@pytest.mark.parametrize("pairing", [OURS_STOCK], ids=str)
def test_a_client_that_asks_for_compression_is_led_away_from_it(
    ipv6_line: Line, authority: Authority, pairing: Pairing, asked: str
) -> None:
    """``compress migrate`` tells such clients to stop."""
    client = [asked] if asked == "comp-lzo no" else [asked, "allow-compression asym"]
    _check(
        start(
            ipv6_line,
            authority,
            pairing,
            server_extra=["compress migrate"],
            client_extra=client,
        )
    )


# --- push ---


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_a_push_of_many_messages_arrives_whole(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    routes = [str(net) for net in IPv6Network("fd00:aaaa::/41").subnets(new_prefix=48)]
    assert len(routes) == 128
    lines = [f'push "route-ipv6 {route}"' for route in routes]
    ends = start(ipv6_line, authority, pairing, server_extra=lines)
    device = ends.client.device().name

    def installed() -> list[str]:
        shown = ends.net.client.run(["ip", "-6", "route", "show", "dev", device]).stdout
        return re.findall(r"^(fd00:aaaa:\S+)", shown, re.MULTILINE)

    wait_for(lambda: len(installed()) == len(routes), 10, "every route", [ends.client.process])
    assert set(installed()) == set(routes)


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_pushed_options_can_be_filtered(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    ends = start(
        ipv6_line,
        authority,
        pairing,
        server_extra=['push "route-ipv6 fd00:aaaa::/48"', 'push "route-ipv6 fd00:bbbb::/48"'],
        client_extra=['pull-filter ignore "route-ipv6 fd00:aaaa"'],
    )
    device = ends.client.device().name
    shown = ends.net.client.run(["ip", "-6", "route", "show", "dev", device]).stdout
    assert "fd00:bbbb::/48" in shown
    assert "fd00:aaaa::/48" not in shown
