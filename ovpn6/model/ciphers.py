"""The data-channel ciphers: one row each. Names are OpenVPN's (``--show-ciphers``)."""

from __future__ import annotations

from ovpn6.model.records import dataclass


@dataclass(frozen=True, slots=True)
class Cipher:
    """One AEAD; sizes in bytes, ``netlink_id`` of ``enum ovpn_cipher_alg``."""

    name: str
    key_size: int
    tag_size: int
    netlink_id: int


CIPHERS: dict[str, Cipher] = {
    cipher.name: cipher
    for cipher in (
        Cipher("AES-256-GCM", key_size=32, tag_size=16, netlink_id=1),
        Cipher("AES-192-GCM", key_size=24, tag_size=16, netlink_id=1),
        Cipher("AES-128-GCM", key_size=16, tag_size=16, netlink_id=1),
        Cipher("CHACHA20-POLY1305", key_size=32, tag_size=16, netlink_id=2),
    )
}

DEFAULT_DATA_CIPHERS = ("AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305")
"""What ``data-ciphers DEFAULT`` means, in order of preference."""

IMPLICIT_IV_SIZE = 8
"""Bytes of nonce taken from the key material; the other four are the packet id."""
