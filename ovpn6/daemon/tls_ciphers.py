"""TLS cipher names: IANA's, as OpenVPN's ``tls-cipher`` wants them, to OpenSSL's.

The two spellings differ by rule, so that no table of suites has to be kept. A word that is not an
IANA name goes through unchanged: OpenSSL's own names and expressions (``DEFAULT``, ``!kRSA``).
"""

from __future__ import annotations

import re

DEFAULT_CIPHERS = ":".join(
    (
        "DEFAULT",
        "!EXP",
        "!LOW",
        "!MEDIUM",
        "!kDH",
        "!kECDH",
        "!DSS",
        "!PSK",
        "!SRP",
        "!kRSA",
    )
)
"""Forward secrecy and AEAD or better; OpenVPN's default (``ssl_openssl.c``)."""

SECURITY_LEVELS: dict[str, int] = {"insecure": 0, "legacy": 1, "preferred": 2, "suiteb": 3}
"""``tls-cert-profile`` as OpenSSL's security level."""

_CIPHER_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^(AES|CAMELLIA|ARIA)-(\d+)-CBC-"), r"\1\2-"),
    (re.compile(r"^(AES)-(\d+)-CCM-8(-SHA256)?$"), r"\1\2-CCM8"),
    (re.compile(r"^(AES)-(\d+)-CCM(-SHA256)?$"), r"\1\2-CCM"),
    (re.compile(r"^(AES|CAMELLIA|ARIA)-(\d+)-GCM-"), r"\1\2-GCM-"),
    (re.compile(r"^CHACHA20-POLY1305-SHA256$"), r"CHACHA20-POLY1305"),
    (re.compile(r"^3DES-EDE-CBC-SHA$"), r"DES-CBC3-SHA"),
)
_KEY_EXCHANGES: dict[str, str] = {"RSA": "", "DH-anon": "ADH-", "ECDH-anon": "AECDH-"}


def openssl_cipher_list(ciphers: str) -> str:
    """A ``tls-cipher`` list (TLS 1.2 and older) in OpenSSL's names; "" gives the default."""
    if not ciphers:
        return DEFAULT_CIPHERS
    return ":".join(openssl_name(word) for word in ciphers.split(":") if word)


def openssl_suites(suites: str) -> str:
    """A ``tls-ciphersuites`` list (TLS 1.3): dashes of old configurations become underscores."""
    return suites.replace("-", "_")


def openssl_name(word: str) -> str:
    """One IANA name with dashes (``TLS-ECDHE-RSA-WITH-AES-256-GCM-SHA384``) in OpenSSL's form."""
    match = re.match(r"^TLS[-_]([A-Za-z0-9_-]+?)[-_]WITH[-_]([A-Z0-9_-]+)$", word)
    if match is None:
        return word
    exchange, cipher = (part.replace("_", "-") for part in match.groups())
    prefix = _KEY_EXCHANGES.get(exchange, f"{exchange}-")
    if cipher.startswith("ARIA-"):
        prefix = "ECDHE-" if exchange == "ECDHE-RSA" else prefix
    for pattern, replacement in _CIPHER_RULES:
        if pattern.match(cipher):
            return prefix + pattern.sub(replacement, cipher)
    return word
