"""The text of complete configuration files."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

import pytest

from ovpn6.model.errors import ConfigError
from ovpn6.pki.profile import (
    ClientProfile,
    Material,
    RemoteLine,
    ServerProfile,
    Wrap,
    client_text,
    server_text,
)


def pem(label: str, body: str) -> str:
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----"


MATERIAL = Material(
    ca=pem("CERTIFICATE", "Y2E="),
    certificate="text that openssl prints\n" + pem("CERTIFICATE", "Y2VydA=="),
    key=pem("PRIVATE KEY", "a2V5"),
    wrap_key="#\n# 2048 bit OpenVPN static key\n#\n" + pem("OpenVPN Static key V1", "00ff"),
)
REMOTE = (RemoteLine("vpn.example.org"),)


def directives(text: str) -> list[str]:
    """The lines outside of inline blocks."""
    lines, inside = [], False
    for line in text.splitlines():
        if line.startswith("</"):
            inside = False
        elif line.startswith("<"):
            inside = True
        elif not inside:
            lines.append(line)
    return lines


def block(text: str, tag: str) -> str:
    return text.partition(f"<{tag}>\n")[2].partition(f"\n</{tag}>")[0]


def test_a_client_checks_that_the_other_end_is_a_server() -> None:
    assert "remote-cert-tls server" in directives(client_text("a", ClientProfile(REMOTE), MATERIAL))


def test_a_server_checks_that_the_other_end_is_a_client() -> None:
    assert "remote-cert-tls client" in directives(server_text("a", ServerProfile(), MATERIAL))


def test_blocks_hold_the_pem_alone() -> None:
    text = client_text("a", ClientProfile(REMOTE), MATERIAL)
    assert block(text, "ca") == MATERIAL.ca
    assert block(text, "cert") == pem("CERTIFICATE", "Y2VydA==")
    assert block(text, "key") == MATERIAL.key
    assert block(text, "tls-crypt") == pem("OpenVPN Static key V1", "00ff")


@pytest.mark.parametrize(
    ("wrap", "tags"),
    [
        (Wrap.NONE, {"ca", "cert", "key"}),
        (Wrap.TLS_AUTH, {"ca", "cert", "key", "tls-auth"}),
        (Wrap.TLS_CRYPT, {"ca", "cert", "key", "tls-crypt"}),
        (Wrap.TLS_CRYPT_V2, {"ca", "cert", "key", "tls-crypt-v2"}),
    ],
)
def test_each_wrap_has_its_block(wrap: Wrap, tags: set[str]) -> None:
    for text in (
        client_text("a", ClientProfile(REMOTE, wrap=wrap), MATERIAL),
        server_text("a", ServerProfile(wrap=wrap), MATERIAL),
    ):
        assert {
            line[1:-1] for line in text.splitlines() if line[:1] == "<" != line[1:2] != "/"
        } == tags


def test_the_ends_of_tls_auth_have_opposite_directions() -> None:
    client = client_text("a", ClientProfile(REMOTE, wrap=Wrap.TLS_AUTH), MATERIAL)
    server = server_text("a", ServerProfile(wrap=Wrap.TLS_AUTH), MATERIAL)
    assert "key-direction 1" in directives(client)
    assert "key-direction 0" in directives(server)


@pytest.mark.parametrize(
    ("protocol", "client_word", "server_word"),
    [("udp", "udp", "udp"), ("udp6", "udp6", "udp6"), ("tcp6", "tcp6-client", "tcp6-server")],
)
def test_tcp_says_who_connects(protocol: str, client_word: str, server_word: str) -> None:
    remote = RemoteLine("2001:db8::1", 443, protocol)
    client = client_text("a", ClientProfile((remote,)), MATERIAL)
    server = server_text("a", ServerProfile(protocol=protocol), MATERIAL)
    assert f"remote 2001:db8::1 443 {client_word}" in directives(client)
    assert f"proto {server_word}" in directives(server)


def test_exit_notify_is_for_datagrams_only() -> None:
    over_tcp = ClientProfile((RemoteLine("a"), RemoteLine("b", protocol="tcp")))
    assert "explicit-exit-notify 1" not in directives(client_text("a", over_tcp, MATERIAL))
    assert "explicit-exit-notify 1" in directives(client_text("a", ClientProfile(REMOTE), MATERIAL))


def test_a_pinned_server_needs_no_ca() -> None:
    text = client_text("a", ClientProfile(REMOTE, fingerprints=("AB:CD",)), MATERIAL)
    assert block(text, "peer-fingerprint") == "AB:CD"
    assert "<ca>" not in text


def test_a_server_of_one_family_has_no_line_of_the_other() -> None:
    only6 = ServerProfile(network6=IPv6Network("2001:db8:1::/64"), network4=None)
    only4 = ServerProfile(network6=None, network4=IPv4Network("192.0.2.0/24"))
    six, four = (directives(server_text("a", profile, MATERIAL)) for profile in (only6, only4))
    assert "server-ipv6 2001:db8:1::/64" in six
    assert not any(line.startswith("server ") for line in six)
    assert "server 192.0.2.0 255.255.255.0" in four
    assert not any(line.startswith("server-ipv6") for line in four)


def test_a_list_comes_inline_or_as_the_path_that_is_read_again() -> None:
    crl = pem("X509 CRL", "Y3Js")
    material = Material(MATERIAL.ca, MATERIAL.certificate, MATERIAL.key, MATERIAL.wrap_key, crl)
    assert block(server_text("a", ServerProfile(), material), "crl-verify") == crl
    by_path = server_text("a", ServerProfile(crl_path="/etc/ovpn6/crl.pem"), MATERIAL)
    assert 'crl-verify "/etc/ovpn6/crl.pem"' in directives(by_path)
    assert "<crl-verify>" not in by_path


def test_extra_lines_are_kept() -> None:
    profile = ClientProfile(REMOTE, extra=("redirect-gateway ipv6",))
    assert "redirect-gateway ipv6" in directives(client_text("a", profile, MATERIAL))


def test_wrong_wishes_are_refused() -> None:
    with pytest.raises(ConfigError, match="--remote"):
        client_text("a", ClientProfile(()), MATERIAL)
    with pytest.raises(ConfigError, match="no protocol"):
        client_text("a", ClientProfile((RemoteLine("a", protocol="sctp"),)), MATERIAL)
    with pytest.raises(ConfigError, match="an IPv6 or an IPv4 network"):
        server_text("a", ServerProfile(network6=None, network4=None), MATERIAL)
    with pytest.raises(ConfigError, match="no PEM block"):
        client_text("a", ClientProfile(REMOTE), Material("", "", ""))


def test_the_representation_of_material_shows_no_key() -> None:
    assert "a2V5" not in repr(MATERIAL)
