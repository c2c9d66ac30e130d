"""Inner packets and keys for the tests of data paths."""

from __future__ import annotations

from ipaddress import ip_address

from ovpn6.model.names import KeyId
from ovpn6.model.secrets import SecretBytes
from ovpn6.model.specs import DataFormat, KeyMaterial


def ip_packet(source: str, destination: str, payload: bytes = b"payload") -> bytes:
    """An IPv6 or IPv4 packet with a lawful header; its checksum is nobody's business here."""
    here, there = ip_address(source), ip_address(destination)
    if here.version == 6:
        head = b"\x60\0\0\0" + len(payload).to_bytes(2, "big") + b"\x3b\x40"
    else:
        head = b"\x45\0" + (20 + len(payload)).to_bytes(2, "big") + bytes(4) + b"\x40\x3b\0\0"
    return head + here.packed + there.packed + payload


def key_pair(
    end: int,
    key_id: int = 0,
    cipher: str = "AES-256-GCM",
    data_format: DataFormat = DataFormat.CLASSIC,
) -> KeyMaterial:
    """The keys of one end (0 or 1); those of the other fit them."""
    if data_format is DataFormat.EPOCH:
        secrets = [SecretBytes(bytes([10 * key_id + way]) * 32) for way in (1, 2)]
        none = SecretBytes(b"")
        here, there = secrets[end], secrets[1 - end]
        return KeyMaterial(KeyId(key_id), cipher, here, none, there, none, data_format)
    size = {"AES-128-GCM": 16, "AES-192-GCM": 24}.get(cipher, 32)
    ways = [SecretBytes(bytes([10 * key_id + way]) * size) for way in (1, 2)]
    ivs = [SecretBytes(bytes([10 * key_id + way]) * 8) for way in (1, 2)]
    return KeyMaterial(KeyId(key_id), cipher, ways[end], ivs[end], ways[1 - end], ivs[1 - end])
