"""Limits on TLS versions, groups, suites and data ciphers: they rule, or the ends do not meet."""

from __future__ import annotations

import pytest
from interop.ends import (
    OURS_OURS,
    OURS_STOCK,
    PAIRINGS,
    SERVER_6,
    STOCK_OURS,
    UP,
    Maker,
    Pairing,
    client_text,
    make_authority,
    remote_of,
    server_text,
    start,
)

from ovpn6.lab import Line, ping
from ovpn6.pki.authority import Authority

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("limits"))


@pytest.mark.parametrize(
    ("server_line", "client_line"),
    [
        ("tls-version-max 1.2", "tls-version-min 1.3"),
        ("tls-groups secp384r1", "tls-groups X25519"),
        (
            "tls-ciphersuites TLS_AES_256_GCM_SHA384",
            "tls-ciphersuites TLS_CHACHA20_POLY1305_SHA256",
        ),
    ],
    ids=["versions", "groups", "suites"],
)
@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_tls_limits_without_overlap_do_not_meet(
    ipv6_line: Line, authority: Authority, pairing: Pairing, server_line: str, client_line: str
) -> None:
    net = ipv6_line
    server = pairing.server.start(net.server, server_text(authority, server_line), "server")
    server.wait_up()
    text = client_text(authority, remote_of(net), client_line)
    client = pairing.client.start(net.client, text, "client")
    server.process.wait_for_log(r"TLS handshake failed|dropped: TLS:")
    assert UP not in client.log()


@pytest.mark.parametrize("pairing", [OURS_STOCK, STOCK_OURS], ids=str)
def test_a_group_that_either_end_names_is_used(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    """OpenVPN's log names the group."""
    line = "tls-groups secp384r1"
    ends = start(
        ipv6_line,
        authority,
        pairing,
        server_extra=[line] if pairing.server is Maker.OURS else [],
        client_extra=[line] if pairing.client is Maker.OURS else [],
    )
    stock = ends.server if pairing.server is Maker.STOCK else ends.client
    stock.process.wait_for_log("peer temporary key: 384 bits")


@pytest.mark.parametrize(
    ("pairing", "line", "seen"),
    [
        (pairing, line, seen)
        for pairing in PAIRINGS
        for line, seen in (
            ("tls-version-max 1.2", r"TLSv1\.2"),
            ("tls-ciphersuites TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
        )
    ],
    ids=str,
)
@pytest.mark.parametrize("limited", ["server", "client"])
def test_a_limit_of_either_end_rules_the_tls_session(
    ipv6_line: Line, authority: Authority, pairing: Pairing, limited: str, line: str, seen: str
) -> None:
    ends = start(
        ipv6_line,
        authority,
        pairing,
        server_extra=[line] if limited == "server" else [],
        client_extra=[line] if limited == "client" else [],
    )
    assert ping(ipv6_line.client, SERVER_6).complete
    ends.client.process.wait_for_log(rf"Control Channel: TLSv1.*{seen}|Control Channel: {seen}")


@pytest.mark.parametrize("pairing", [OURS_STOCK, STOCK_OURS, OURS_OURS], ids=str)
def test_ciphers_without_overlap_end_with_a_reason(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    text = server_text(authority, ciphers=("AES-256-GCM",))
    server = pairing.server.start(net.server, text, "server")
    server.wait_up()
    text = client_text(authority, remote_of(net), "data-ciphers CHACHA20-POLY1305")
    client = pairing.client.start(net.client, text, "client")
    server.process.wait_for_log(r"(?i)no common cipher|cannot negotiate.*cipher|data cipher")
    client.process.wait_for_log(r"(?i)AUTH_FAILED.*cipher|Data channel cipher negotiation failed")
    assert UP not in client.log()
