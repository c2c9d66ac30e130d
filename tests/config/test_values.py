"""Single words: addresses, masks, numbers, algorithm names."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Network, IPv6Interface, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.config import algorithms, values
from ovpn6.config.values import PROTOS, Parser, Proto
from ovpn6.model.errors import ConfigError
from ovpn6.model.names import Family, Transport


@given(st.integers(0, 32))
def test_netmask_gives_its_prefix_length(length: int) -> None:
    assert values.netmask(str(IPv4Network((0, length)).netmask)) == length


@pytest.mark.parametrize("text", ["255.0.255.0", "0.0.0.255", "10.8.0.1", "24", "2001:db8::"])
def test_what_is_no_netmask_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        values.netmask(text)


def test_network_with_host_bits_is_refused_with_the_network_that_was_meant() -> None:
    with pytest.raises(ConfigError, match=r"write 10\.8\.0\.0 255\.255\.255\.0"):
        values.ipv4_network("10.8.0.1", "255.255.255.0")


def test_number_out_of_range_names_the_range() -> None:
    with pytest.raises(ConfigError, match="use a number from 1 to 65535"):
        values.port("0")


@pytest.mark.parametrize("text", ["", "1.5", "0x10", "1e3", "ten", "1 ", "１"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        values.integer(0)(text)


def test_ipv6_tunnel_network_is_64_to_124_without_host_bits() -> None:
    assert values.tunnel_ipv6_network("2001:db8::/64") == IPv6Network("2001:db8::/64")
    for text in ("2001:db8::/63", "2001:db8::/125", "2001:db8::1/64", "2001:db8::", "10.8.0.0/24"):
        with pytest.raises(ConfigError):
            values.tunnel_ipv6_network(text)


def test_interface_needs_its_prefix_length() -> None:
    assert values.ipv6_interface("2001:db8::7/64") == IPv6Interface("2001:db8::7/64")
    with pytest.raises(ConfigError):
        values.ipv6_interface("2001:db8::7")


def test_every_protocol_word_of_openvpn_is_known() -> None:
    words = "udp udp4 udp6 tcp tcp4 tcp6 tcp-server tcp4-server tcp6-server"
    words += " tcp-client tcp4-client tcp6-client"
    assert set(words.split()) == set(PROTOS)
    assert values.proto("tcp6-client") == Proto(Transport.TCP, Family.IPV6, "client")


def test_fingerprint_is_kept_as_lower_case_hex() -> None:
    assert values.sha256_fingerprint(":".join(["AB"] * 32)) == "ab" * 32
    with pytest.raises(ConfigError):
        values.sha256_fingerprint(":".join(["AB"] * 20))


@pytest.mark.parametrize(
    ("text", "ciphers"),
    [
        ("AES-128-GCM", ("AES-128-GCM",)),
        ("chacha20-poly1305:aes-256-gcm", ("CHACHA20-POLY1305", "AES-256-GCM")),
        ("DEFAULT", ("AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305")),
        ("AES-192-GCM:DEFAULT", ("AES-192-GCM", "AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305")),
        ("AES-256-GCM:?AES-256-CBC:?NOVEL", ("AES-256-GCM",)),
    ],
)
def test_cipher_list_is_read(text: str, ciphers: tuple[str, ...]) -> None:
    assert algorithms.data_ciphers(text) == ciphers


@pytest.mark.parametrize("text", ["AES-256-CBC", "AES-256-GCM:BF-CBC", "none", "NOVEL", "", "?X"])
def test_cipher_list_with_what_cannot_be_done_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        algorithms.data_ciphers(text)


@pytest.mark.parametrize(
    ("text", "digest"),
    [("SHA256", "SHA256"), ("sha512", "SHA512"), ("RSA-SHA256", "SHA256"), ("none", "none")],
)
def test_digest_is_spelt_as_openssl_does(text: str, digest: str) -> None:
    assert algorithms.digest(text) == digest


@pytest.mark.parametrize(
    ("iana", "openssl"),
    [
        ("TLS-ECDHE-ECDSA-WITH-AES-256-GCM-SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ("TLS-ECDHE-RSA-WITH-AES-128-CBC-SHA256", "ECDHE-RSA-AES128-SHA256"),
        ("TLS-DHE-RSA-WITH-CHACHA20-POLY1305-SHA256", "DHE-RSA-CHACHA20-POLY1305"),
        ("TLS-RSA-WITH-AES-256-GCM-SHA384", "AES256-GCM-SHA384"),
        ("DEFAULT:!TLS-RSA-WITH-AES-128-CBC-SHA", "DEFAULT:!AES128-SHA"),
        ("ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
    ],
)
def test_tls_suites_are_spelt_as_openssl_does(iana: str, openssl: str) -> None:
    assert algorithms.tls_cipher_list(iana) == openssl


_PARSERS: tuple[Parser[object], ...] = (
    values.address,
    values.ipv4_address,
    values.ipv6_address,
    values.netmask,
    values.ipv6_network,
    values.ipv6_interface,
    values.tunnel_ipv6_network,
    values.pool_ipv6,
    values.host,
    values.port,
    values.proto,
    values.interface_name,
    values.netns_name,
    values.variable_name,
    values.sha256_fingerprint,
    values.key_usage,
    algorithms.digest,
    algorithms.data_cipher,
    algorithms.data_ciphers,
    algorithms.tls_cipher_list,
    algorithms.tls_ciphersuites,
    algorithms.tls_groups,
)


@given(st.sampled_from(_PARSERS), st.text(max_size=40))
def test_any_word_gives_a_value_or_a_config_error(parse: Parser[object], text: str) -> None:
    with suppress(ConfigError):
        assert parse(text) is not None
