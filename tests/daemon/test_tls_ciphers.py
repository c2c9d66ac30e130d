"""IANA's names of TLS 1.2 suites to OpenSSL's."""

from __future__ import annotations

import pytest
from OpenSSL import SSL

from ovpn6.daemon.tls_ciphers import openssl_cipher_list, openssl_name, openssl_suites

# From OpenSSL's ciphers(1), "Cipher suite names".
NAMES = {
    "TLS-ECDHE-ECDSA-WITH-AES-256-GCM-SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS-ECDHE-RSA-WITH-AES-128-GCM-SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS-ECDHE-ECDSA-WITH-CHACHA20-POLY1305-SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS-DHE-RSA-WITH-AES-256-CBC-SHA256": "DHE-RSA-AES256-SHA256",
    "TLS-DHE-RSA-WITH-AES-256-CBC-SHA": "DHE-RSA-AES256-SHA",
    "TLS-RSA-WITH-AES-128-GCM-SHA256": "AES128-GCM-SHA256",
    "TLS-RSA-WITH-AES-256-CBC-SHA": "AES256-SHA",
    "TLS-ECDHE-ECDSA-WITH-AES-128-CCM-8": "ECDHE-ECDSA-AES128-CCM8",
    "TLS-DHE-RSA-WITH-AES-128-CCM": "DHE-RSA-AES128-CCM",
    "TLS-DHE-RSA-WITH-CAMELLIA-256-CBC-SHA": "DHE-RSA-CAMELLIA256-SHA",
    "TLS-DHE-RSA-WITH-ARIA-128-GCM-SHA256": "DHE-RSA-ARIA128-GCM-SHA256",
    "TLS-ECDHE-RSA-WITH-ARIA-128-GCM-SHA256": "ECDHE-ARIA128-GCM-SHA256",
    "TLS-ECDHE-ECDSA-WITH-ARIA-256-GCM-SHA384": "ECDHE-ECDSA-ARIA256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
}


@pytest.mark.parametrize(("iana", "openssl"), NAMES.items())
def test_iana_names_become_openssls(iana: str, openssl: str) -> None:
    assert openssl_name(iana) == openssl


@pytest.mark.parametrize("name", NAMES.values())
def test_openssl_knows_the_names(name: str) -> None:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_cipher_list(f"{name}:@SECLEVEL=0".encode())
    assert name in SSL.Connection(context, None).get_cipher_list()


@pytest.mark.parametrize("word", ["DEFAULT", "!kRSA", "ECDHE-RSA-AES256-SHA", "@SECLEVEL=0"])
def test_openssls_own_words_stay(word: str) -> None:
    assert openssl_cipher_list(f"{word}:TLS-RSA-WITH-AES-256-CBC-SHA") == f"{word}:AES256-SHA"


def test_dashes_in_tls_1_3_suites_become_underscores() -> None:
    assert openssl_suites("TLS-AES-256-GCM-SHA384:TLS_AES_128_GCM_SHA256") == (
        "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256"
    )
