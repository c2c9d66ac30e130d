"""Parsers of algorithm names: data ciphers, digests, TLS cipher lists."""

from __future__ import annotations

import re

from ovpn6.model.ciphers import CIPHERS, DEFAULT_DATA_CIPHERS
from ovpn6.model.errors import ConfigError

DIGESTS = (
    "SHA1",
    "SHA224",
    "SHA256",
    "SHA384",
    "SHA512",
    "SHA512-224",
    "SHA512-256",
    "SHA3-224",
    "SHA3-256",
    "SHA3-384",
    "SHA3-512",
    "BLAKE2b512",
    "BLAKE2s256",
    "MD5",
    "RIPEMD160",
    "none",
)
"""What ``auth`` may name, as OpenSSL writes it."""

_DIGEST_BY_KEY = {digest.upper().replace("-", ""): digest for digest in DIGESTS}

_WITHOUT_AEAD = re.compile(
    r"(AES|CAMELLIA|ARIA|SEED|SM4|DES|BF|CAST5|RC2|IDEA|DES-EDE3?)-.*(CBC|CFB|OFB)[0-9]*"
    r"|none|BF-CBC|DESX-CBC",
    re.IGNORECASE,
)


def digest(text: str) -> str:
    """An HMAC digest in OpenSSL's spelling; ``RSA-SHA256`` and ``sha256`` are SHA256."""
    key = text.upper().removeprefix("RSA-").replace("-", "").replace("_", "")
    found = _DIGEST_BY_KEY.get(key)
    if found is None:
        advice = f"use one of {', '.join(DIGESTS)}"
        raise ConfigError(f"{text!r} is not a digest", advice=advice)
    return found


def data_cipher(text: str) -> str:
    """The name of one of our ciphers, spelt as in ``CIPHERS``."""
    found = CIPHERS.get(text.upper())
    if found is not None:
        return found.name
    advice = f"use {', '.join(CIPHERS)}"
    if is_without_aead(text):
        raise ConfigError(f"cipher {text} is not supported: only AEAD ciphers are", advice=advice)
    raise ConfigError(f"{text!r} is not a data cipher", advice=advice)


def is_without_aead(text: str) -> bool:
    """Whether OpenVPN knows this name as a CBC, CFB or OFB cipher, or as none at all."""
    return _WITHOUT_AEAD.fullmatch(text) is not None


def data_ciphers(text: str) -> tuple[str, ...]:
    """``A:B:?C:DEFAULT`` in order of preference; an unknown ``?C`` is left out."""
    found: list[str] = []
    for item in filter(None, text.split(":")):
        optional = item.startswith("?")
        name = item.removeprefix("?")
        if name == "DEFAULT":
            found.extend(DEFAULT_DATA_CIPHERS)
        elif not optional or name.upper() in CIPHERS:
            found.append(data_cipher(name))
    if not found:
        raise ConfigError(f"{text!r} names no cipher that is supported", advice="write DEFAULT")
    return tuple(dict.fromkeys(found))


def tls_ciphersuites(text: str) -> str:
    """TLS 1.3 suites as OpenSSL spells them; ``TLS-AES-256-GCM-SHA384`` is accepted."""
    return ":".join(item.replace("-", "_") for item in _list(text))


def tls_cipher_list(text: str) -> str:
    """TLS 1.2 suites as OpenSSL spells them; IANA's spelling with dashes is translated."""
    return ":".join(_openssl_suite(item) for item in _list(text))


def tls_groups(text: str) -> str:
    """Key exchange groups, colon-separated."""
    return ":".join(_list(text))


def _list(text: str) -> list[str]:
    items = [item for item in text.split(":") if item]
    if not items or re.search(r"[^\x21-\x7e]", text):
        raise ConfigError(f"{text!r} is not a list of names", advice="separate names by colons")
    return items


def _openssl_suite(item: str) -> str:
    """``TLS-ECDHE-RSA-WITH-AES-256-GCM-SHA384`` is ``ECDHE-RSA-AES256-GCM-SHA384``."""
    sign = item[0] if item[0] in "!+-" else ""
    iana = re.fullmatch(
        r"TLS[-_](?P<exchange>[A-Z0-9_-]+)[-_]WITH[-_](?P<cipher>[A-Z0-9_-]+)", item[len(sign) :]
    )
    if iana is None:
        return item
    exchange = iana["exchange"].replace("_", "-")
    cipher = iana["cipher"].replace("_", "-")
    cipher = re.sub(r"(AES|CAMELLIA|ARIA)-(128|256)", r"\1\2", cipher)
    cipher = re.sub(r"^(AES|CAMELLIA)(128|256)-CBC", r"\1\2", cipher)
    cipher = re.sub(r"CHACHA20-POLY1305-SHA256$", "CHACHA20-POLY1305", cipher)
    prefix = "" if exchange == "RSA" else f"{exchange}-"
    return f"{sign}{prefix}{cipher}"
