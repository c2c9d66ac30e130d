"""Whom an end refuses: wrong certificates, wrong keys, wrong names. A good client still gets in."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from interop import wire
from interop.ends import (
    OUR_CLIENT,
    OUR_SERVER,
    PAIRINGS,
    SERVER_6,
    UP,
    Pairing,
    client_text,
    make_authority,
    remote_of,
    server_text,
    start,
    with_block,
    with_line,
    without_line,
)

from ovpn6.lab import Line, Tunnel, ping, wait_for
from ovpn6.pki.authority import Authority
from ovpn6.pki.profile import Wrap

pytestmark = pytest.mark.root

REVOKED = r"(?i)VERIFY ERROR.*revoked"
NOT_TRUSTED = r"(?i)VERIFY ERROR.*(issuer|self.signed|signature)"
EXPIRED = r"(?i)VERIFY ERROR.*expired"
WRONG_PURPOSE = r"VERIFY (KU|EKU) ERROR|VERIFY ERROR.*purpose"
WRONG_NAME = r"VERIFY X509NAME ERROR"
NOT_PINNED = r"(?i)(VERIFY ERROR|TLS Error).*fingerprint"

Change = Callable[[str], str]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("refusals"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority with the same names that nobody trusts."""
    return make_authority(tmp_path_factory.mktemp("stranger"))


# --- certificates that the server refuses ---


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_a_revoked_certificate_is_refused(
    ipv6_line: Line, tmp_path: Path, pairing: Pairing
) -> None:
    authority = make_authority(tmp_path)
    bad = client_text(authority, remote_of(ipv6_line))
    authority.revoke("client")
    _server_refuses(ipv6_line, authority, pairing, bad, REVOKED)


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_a_revocation_counts_without_a_restart_of_the_server(
    ipv6_line: Line, tmp_path: Path, pairing: Pairing
) -> None:
    authority = make_authority(tmp_path)
    ends = start(ipv6_line, authority, pairing)
    authority.revoke("client")
    ends.client.process.signal(signal.SIGUSR1)
    ends.server.process.wait_for_log(REVOKED)
    _good_client_gets_in(ipv6_line, authority, pairing, ends.client)


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_a_revocation_ends_a_session_at_its_next_renegotiation(
    ipv6_line: Line, tmp_path: Path, pairing: Pairing
) -> None:
    authority = make_authority(tmp_path)
    # The old key serves until the transition window closes.
    lines = ["reneg-sec 5", "tran-window 5"]
    ends = start(ipv6_line, authority, pairing, server_extra=lines)
    ends.client_row()
    authority.revoke("client")
    ends.server.process.wait_for_log(REVOKED)
    wait_for(
        lambda: not ping(ipv6_line.client, SERVER_6, count=1).received,
        15,
        "an end of the revoked client's traffic",
        [ends.server.process],
    )


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_a_client_of_another_ca_is_refused(
    ipv6_line: Line, authority: Authority, stranger: Authority, pairing: Pairing
) -> None:
    bad = _with_identity(client_text(authority, remote_of(ipv6_line)), stranger, "client")
    _server_refuses(ipv6_line, authority, pairing, bad, NOT_TRUSTED)


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_an_expired_client_is_refused(ipv6_line: Line, tmp_path: Path, pairing: Pairing) -> None:
    authority = _authority_with_expired(tmp_path)
    bad = client_text(authority, remote_of(ipv6_line))
    _server_refuses(ipv6_line, authority, pairing, bad, EXPIRED)


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_a_server_certificate_cannot_be_a_clients(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    bad = _with_identity(client_text(authority, remote_of(ipv6_line)), authority, "server")
    _server_refuses(ipv6_line, authority, pairing, bad, WRONG_PURPOSE)


# --- certificates that the client refuses ---


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_a_server_of_another_ca_is_refused(
    ipv6_line: Line, authority: Authority, stranger: Authority, pairing: Pairing
) -> None:
    server = _with_identity(server_text(authority), stranger, "server")
    client = client_text(authority, remote_of(ipv6_line))
    _client_refuses(ipv6_line, pairing, server, client, NOT_TRUSTED)


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_an_expired_server_is_refused(ipv6_line: Line, tmp_path: Path, pairing: Pairing) -> None:
    authority = _authority_with_expired(tmp_path)
    server = _with_identity(server_text(authority), authority, "old-server")
    client = client_text(authority, remote_of(ipv6_line), name="other")
    _client_refuses(ipv6_line, pairing, server, client, EXPIRED)


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_a_client_that_plays_server_is_refused(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    server = _with_identity(server_text(authority), authority, "other")
    client = client_text(authority, remote_of(ipv6_line))
    _client_refuses(ipv6_line, pairing, server, client, WRONG_PURPOSE)


@pytest.mark.parametrize("rule", ["gateway name", "gate name-prefix", "'CN=gateway' subject"])
@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_a_server_of_another_name_is_refused(
    ipv6_line: Line, authority: Authority, pairing: Pairing, rule: str
) -> None:
    client = client_text(authority, remote_of(ipv6_line), f"verify-x509-name {rule}")
    _client_refuses(ipv6_line, pairing, server_text(authority), client, WRONG_NAME)


@pytest.mark.parametrize("rule", ["server name", "serv name-prefix", "'CN=server' subject"])
@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_a_server_of_the_right_name_is_accepted(
    ipv6_line: Line, authority: Authority, pairing: Pairing, rule: str
) -> None:
    start(ipv6_line, authority, pairing, client_extra=[f"verify-x509-name {rule}"])
    assert ping(ipv6_line.client, SERVER_6).complete


# --- fingerprints in place of a CA ---


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_two_ends_that_pin_each_other_need_no_ca(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    server = pairing.server.start(net.server, _pinned_server(authority, "client"), "server")
    server.wait_up()
    text = _pin(client_text(authority, remote_of(net)), authority, "server")
    client = pairing.client.start(net.client, text, "client")
    client.wait_up()
    assert ping(net.client, SERVER_6).complete


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_a_client_whose_fingerprint_is_not_listed_is_refused(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    server = pairing.server.start(net.server, _pinned_server(authority, "other"), "server")
    server.wait_up()
    bad = client_text(authority, remote_of(net))
    client = pairing.client.start(net.client, bad, "bad-client")
    server.process.wait_for_log(NOT_PINNED)
    assert UP not in client.log()
    _good_client_gets_in(net, authority, pairing, client)


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_a_server_with_another_fingerprint_is_refused(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    client = _pin(client_text(authority, remote_of(ipv6_line)), authority, "other")
    _client_refuses(ipv6_line, pairing, server_text(authority), client, NOT_PINNED)


# --- keys outside of TLS: a stranger gets no answer at all ---


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_the_wrong_direction_of_the_tls_auth_key_gets_no_answer(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    bad = client_text(authority, remote_of(ipv6_line), wrap=Wrap.TLS_AUTH)
    bad = with_line(bad, "key-direction 1", "key-direction 0")
    _server_stays_silent(ipv6_line, authority, pairing, Wrap.TLS_AUTH, bad)


@pytest.mark.parametrize("wrap", [Wrap.TLS_AUTH, Wrap.TLS_CRYPT], ids=lambda wrap: wrap.value)
@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_another_static_key_gets_no_answer(
    ipv6_line: Line, authority: Authority, stranger: Authority, pairing: Pairing, wrap: Wrap
) -> None:
    key = stranger.files.tls_auth if wrap is Wrap.TLS_AUTH else stranger.files.tls_crypt
    bad = client_text(authority, remote_of(ipv6_line), wrap=wrap)
    bad = with_block(bad, wrap.value, key.read_text())
    _server_stays_silent(ipv6_line, authority, pairing, wrap, bad)


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_a_tls_crypt_v2_key_of_another_server_gets_no_answer(
    ipv6_line: Line, authority: Authority, stranger: Authority, pairing: Pairing
) -> None:
    key = stranger.files.tls_crypt_v2("client").read_text()
    bad = client_text(authority, remote_of(ipv6_line), wrap=Wrap.TLS_CRYPT_V2)
    bad = with_block(bad, "tls-crypt-v2", key)
    _server_stays_silent(ipv6_line, authority, pairing, Wrap.TLS_CRYPT_V2, bad)


@pytest.mark.parametrize(
    "wrap", [Wrap.TLS_AUTH, Wrap.TLS_CRYPT, Wrap.TLS_CRYPT_V2], ids=lambda wrap: wrap.value
)
@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_a_client_without_the_key_gets_no_answer(
    ipv6_line: Line, authority: Authority, pairing: Pairing, wrap: Wrap
) -> None:
    bad = client_text(authority, remote_of(ipv6_line), wrap=Wrap.NONE)
    _server_stays_silent(ipv6_line, authority, pairing, wrap, bad)


# --- how a refusal is checked ---


def _server_refuses(
    net: Line, authority: Authority, pairing: Pairing, bad: str, evidence: str
) -> None:
    """The server says why, the bad client never comes up, a good one does."""
    server = pairing.server.start(net.server, server_text(authority), "server")
    server.wait_up()
    client = pairing.client.start(net.client, bad, "bad-client")
    server.process.wait_for_log(evidence)
    assert UP not in client.log()
    _good_client_gets_in(net, authority, pairing, client)


def _client_refuses(net: Line, pairing: Pairing, server: str, client: str, evidence: str) -> None:
    """The client says why and does not come up; the server has no client."""
    listening = pairing.server.start(net.server, server, "server")
    listening.wait_up()
    refusing = pairing.client.start(net.client, client, "client")
    refusing.process.wait_for_log(evidence)
    assert UP not in refusing.log()
    assert listening.process.running
    assert "Peer Connection Initiated" not in listening.log()


def _server_stays_silent(
    net: Line, authority: Authority, pairing: Pairing, wrap: Wrap, bad: str
) -> None:
    """The server sends nothing to a client that tries twice; a good one gets in."""
    server = pairing.server.start(net.server, server_text(authority, wrap=wrap), "server")
    server.wait_up()
    with wire.watch(net) as capture:
        client = pairing.client.start(net.client, bad, "bad-client")
        wait_for(lambda: len(wire.packets(capture)) >= 2, 15, "two attempts", [client.process])
        client.process.kill()
        senders = {packet.source[0] for packet in wire.packets(capture)}
    assert senders == {str(net.client_addresses[0])}
    _good_client_gets_in(net, authority, pairing, client, wrap)


def _good_client_gets_in(
    net: Line,
    authority: Authority,
    pairing: Pairing,
    bad: Tunnel,
    wrap: Wrap = Wrap.TLS_CRYPT,
) -> None:
    if bad.process.running:
        bad.stop()
    text = client_text(authority, remote_of(net), name="other", wrap=wrap)
    good = pairing.client.start(net.client, text, "good-client")
    good.wait_up()
    assert ping(net.client, SERVER_6).complete


def _with_identity(text: str, authority: Authority, name: str) -> str:
    """A configuration with the certificate and key of someone else."""
    files = authority.files
    text = with_block(text, "cert", files.issued(name).read_text())
    return with_block(text, "key", files.private(name).read_text())


def _pin(text: str, authority: Authority, name: str) -> str:
    """A configuration that trusts one certificate and no CA."""
    text = with_block(text, "ca", "")
    return f"{text}<peer-fingerprint>\n{authority.fingerprint(name)}\n</peer-fingerprint>\n"


def _pinned_server(authority: Authority, name: str) -> str:
    text = without_line(server_text(authority), f'crl-verify "{authority.files.crl}"')
    return _pin(text, authority, name)


def _authority_with_expired(directory: Path) -> Authority:
    """An authority in force whose ``client`` and ``old-server`` ended nine days ago."""
    authority = Authority.create(directory / "pki")
    authority.issue_server("server")
    authority.issue_client("other")
    past = Authority(authority.files.root, clock=lambda: datetime.now(UTC) - timedelta(days=10))
    past.issue_client("client", days=1)
    past.issue_server("old-server", days=1)
    return authority
