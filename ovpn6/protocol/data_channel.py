"""The data channel: seal, open, replay window, usage limits, framing. PURE.

The reference for every data path; the user-space one in Python runs this very code. Knows no peer
table, socket or clock: time enters only through ``tick``.

A P_DATA_V2 datagram, after OpenVPN ``crypto.c`` (``openvpn_encrypt_aead``) and ``ssl.c``::

    | opcode, key id (1) | peer id (3) | packet id (4) | tag (16) | ciphertext |
    |<------------ authenticated: 8 bytes ----------->|

The nonce is the packet id followed by the 8-byte implicit IV of the key. The other format of the
data channel, with epoch keys, is in ``epoch_channel.py``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from cryptography.exceptions import InvalidTag

from ovpn6.model.ciphers import IMPLICIT_IV_SIZE
from ovpn6.model.errors import PeerError, UsageError
from ovpn6.model.names import Instant, KeyId, PacketId
from ovpn6.model.records import dataclass
from ovpn6.model.secrets import SecretBytes
from ovpn6.model.specs import Framing, KeyMaterial
from ovpn6.protocol.aead import new_aead, refuse
from ovpn6.protocol.packets import Opcode

HEADER_SIZE = 8
TAG_SIZE = 16
OVERHEAD = HEADER_SIZE + TAG_SIZE
"""Bytes that sealing adds to a payload."""

PING = bytes.fromhex("2a187bf3641eb4cb07ed2d0a981fc748")
"""The payload that only says "I am here" (OpenVPN ``ping.c``)."""
OCC_MAGIC = bytes.fromhex("287f346bd4ef7a812d56b8d3afc5459c")
"""What an options-check message begins with (OpenVPN ``occ.c``); one byte of type follows."""
OCC_EXIT = OCC_MAGIC + b"\x06"
"""The payload that says goodbye (OpenVPN ``occ.h``)."""

LAST_PACKET_ID = 0xFFFFFFFF
WRAP_TRIGGER = 0xFF000000
"""From this packet id on a new key is wanted (OpenVPN ``packet_id.h``)."""


class AuthenticationFailed(PeerError):
    """The tag does not match: forged, damaged, or sealed under another key."""


class Replayed(PeerError):
    """An authentic datagram that was seen before, or is too old to tell."""


class Compressed(PeerError):
    """The payload is compressed, or framed in a way that was not agreed."""


class KeyExhausted(PeerError):
    """The key has sealed all it may, and the peer did not renegotiate in time."""


@dataclass(frozen=True, slots=True)
class UsageLimits:
    """How much one key may do. ``usage`` counts blocks of 16 bytes plus packets, None is no limit.

    Source: OpenVPN 2.7 ``crypto.c`` (``cipher_get_aead_limits``) and ``ssl.c``; the bound
    q + s <= 2^36 - 1 is that of the IRTF's AEAD limits for AES-GCM. A new key is wanted at 7/8 of
    ``usage`` and after ``failures`` / 2 failed openings; past ``failures`` nothing opens any more.
    """

    usage: int | None = (1 << 36) - 1
    failures: int = 1 << 36

    @property
    def wanted_at(self) -> int | None:
        """The usage above which a new key is wanted."""
        return None if self.usage is None else self.usage // 8 * 7


def usage_limits(cipher: str) -> UsageLimits:
    """The limits of a row of ``CIPHERS``: ChaCha20-Poly1305 needs none on usage."""
    return UsageLimits(usage=None) if cipher == "CHACHA20-POLY1305" else UsageLimits()


class ReplayWindow:
    """Which packet ids of one key were seen.

    Accepts each id once: ids above the highest at once, lower ones while they are within ``size``
    of it and were not overtaken more than ``seconds`` ago (OpenVPN ``packet_id.c``, there 64 and
    15 s). ``size`` 0 takes only the next id (a reliable link); ``seconds`` 0 sets no time bound.
    """

    __slots__ = ("_floor", "_marks", "_mask", "_seconds", "highest", "missing")

    def __init__(self, size: int = 64, seconds: float = 15.0) -> None:
        self._mask = (1 << size) - 1
        self._seconds = seconds
        self._floor = 0
        self._marks: deque[tuple[Instant, int]] = deque()
        self.highest = 0
        self.missing = 0
        """Bit i is set when ``highest - i`` may still come."""

    def accept(self, packet_id: int) -> None:
        """Take an authentic packet's id. Raises ``Replayed`` and changes nothing."""
        ahead = packet_id - self.highest
        if ahead == 1 and not self.missing:
            self.highest = packet_id
        elif not self._mask:
            self._accept_in_order(packet_id)
        elif ahead > 0:
            shift = min(ahead, self._mask.bit_length())
            self.missing = (self.missing << shift | (1 << shift) - 2) & self._mask
            self.highest = packet_id
        else:
            bit = 1 << -ahead if -ahead < self._mask.bit_length() else 0
            if packet_id <= self._floor or not self.missing & bit:
                raise Replayed(f"packet id {packet_id} after {self.highest}")
            self.missing ^= bit

    def tick(self, now: Instant) -> None:
        """About once a second: ids that were overtaken too long ago are over."""
        if not self._seconds:
            return
        marks = self._marks
        if not marks or marks[-1][1] != self.highest:
            marks.append((now, self.highest))
        while marks and marks[0][0] + self._seconds < now:
            self._floor = marks.popleft()[1]

    def _accept_in_order(self, packet_id: int) -> None:
        if packet_id == 0 or (self.highest and packet_id != self.highest + 1):
            raise Replayed(f"packet id {packet_id} after {self.highest} on a reliable link")
        self.highest = packet_id


class SendKey:
    """Seals under one key. ``packet_id`` is the last one used, ``octets`` counts all payloads.

    Both double as send counters, so that sealing touches nothing else.
    """

    __slots__ = ("_encrypt", "_iv", "_limits", "_prefix", "key_id", "octets", "packet_id")

    def __init__(
        self, material: KeyMaterial, send_id: int, limits: UsageLimits | None = None
    ) -> None:
        """``send_id``: the 24-bit peer id that the other end knows us by. Raises ``UsageError``."""
        self.key_id = material.key_id
        self.packet_id = PacketId(0)
        self.octets = 0
        self._prefix = header_prefix(material.key_id, send_id)
        self._iv = _implicit_iv(material.send_iv)
        self._encrypt: Callable[..., bytes] = new_aead(material.cipher, material.send_key).encrypt
        self._limits = limits if limits is not None else usage_limits(material.cipher)

    def seal(self, payload: bytes) -> bytes:
        """The datagram. Raises ``KeyExhausted`` when all packet ids or the usage are spent."""
        packet_id = self.packet_id
        if packet_id >= LAST_PACKET_ID:
            raise KeyExhausted(f"key {self.key_id} has no packet id left")
        packet_id += 1  # type: ignore[assignment]
        self.packet_id = packet_id
        self.octets += len(payload)
        counter = packet_id.to_bytes(4, "big")
        header = self._prefix + counter
        sealed = self._encrypt(counter + self._iv, payload, header)
        return header + sealed[-16:] + sealed[:-16]

    @property
    def packets(self) -> int:
        """How many datagrams were sealed."""
        return self.packet_id

    @property
    def worn_out(self) -> bool:
        """A new key is wanted soon."""
        wanted_at = self._limits.wanted_at
        used = usage(self.octets, self.packet_id)
        return self.packet_id >= WRAP_TRIGGER or (wanted_at is not None and used > wanted_at)

    def wipe(self) -> None:
        """Forget the key; the library clears its own copy when the context goes."""
        self._encrypt = refuse
        self._iv = bytes(IMPLICIT_IV_SIZE)
        self.packet_id = PacketId(LAST_PACKET_ID)

    def __repr__(self) -> str:
        return f"<SendKey {self.key_id}, packet id {self.packet_id}>"


class ReceiveKey:
    """Opens under one key. ``octets``, ``packets`` and ``failures`` count payloads and refusals."""

    __slots__ = (
        "_decrypt",
        "_iv",
        "_limits",
        "failures",
        "key_id",
        "octets",
        "packets",
        "replay",
    )

    def __init__(
        self,
        material: KeyMaterial,
        replay: ReplayWindow | None = None,
        limits: UsageLimits | None = None,
    ) -> None:
        self.key_id: KeyId = material.key_id
        self.replay = replay if replay is not None else ReplayWindow()
        self.octets = 0
        self.packets = 0
        self.failures = 0
        self._iv = _implicit_iv(material.receive_iv)
        self._decrypt: Callable[..., bytes] = new_aead(
            material.cipher, material.receive_key
        ).decrypt
        self._limits = limits if limits is not None else usage_limits(material.cipher)

    def open(self, datagram: bytes) -> bytes:
        """The payload of one P_DATA_V2 datagram whose opcode and key id were looked at already.

        Raises ``AuthenticationFailed``, ``Replayed``, or plain ``PeerError`` for one too short to
        hold a payload. Nothing changes then but ``failures``.
        """
        if len(datagram) <= OVERHEAD:
            raise PeerError(f"data packet of {len(datagram)} bytes")
        counter = datagram[4:8]
        try:
            payload = self._decrypt(
                counter + self._iv, datagram[24:] + datagram[8:24], datagram[:8]
            )
        except InvalidTag:
            self._failed()
            raise AuthenticationFailed("data packet with a wrong tag") from None
        packet_id = int.from_bytes(counter, "big")
        replay = self.replay
        if packet_id == replay.highest + 1 and not replay.missing:
            replay.highest = packet_id
        else:
            replay.accept(packet_id)
        self.packets += 1
        self.octets += len(payload)
        return payload

    def is_newest(self, datagram: bytes) -> bool:
        """Whether no later one than this has opened."""
        return int.from_bytes(datagram[4:8], "big") == self.replay.highest

    def tick(self, now: Instant) -> None:
        """About once a second: the replay window's clock."""
        self.replay.tick(now)

    @property
    def worn_out(self) -> bool:
        """A new key is wanted soon."""
        wanted_at = self._limits.wanted_at
        used = usage(self.octets, self.replay.highest)
        if wanted_at is not None and used > wanted_at:
            return True
        return self.failures > self._limits.failures // 2

    def wipe(self) -> None:
        """Forget the key; nothing opens any more."""
        self._decrypt = refuse
        self._iv = bytes(IMPLICIT_IV_SIZE)

    def _failed(self) -> None:
        self.failures += 1
        if self.failures > self._limits.failures:
            self.wipe()

    def __repr__(self) -> str:
        return f"<ReceiveKey {self.key_id}, {self.packets} packets>"


def header_prefix(key_id: KeyId, send_id: int) -> bytes:
    """The first four bytes of a P_DATA_V2 datagram. Raises ``UsageError``."""
    if not 0 <= send_id <= 0xFFFFFF:
        raise UsageError(f"peer id {send_id} does not fit in 24 bits")
    return bytes((Opcode.DATA_V2 << 3 | key_id,)) + send_id.to_bytes(3, "big")


def usage(octets: int, packets: int) -> int:
    """Blocks plus packets, from above: each packet's last block counts as a whole one."""
    return octets // 16 + 2 * packets


def frame(framing: Framing, packet: bytes) -> bytes:
    """The payload that carries an inner packet (ping and OCC messages too; OpenVPN ``comp.c``)."""
    if framing is Framing.STUB:
        return b"\xfa" + packet
    if framing is Framing.STUB_SWAP:
        return b"\xfb" + packet[1:] + packet[:1]
    if framing is Framing.STUB_V2 and packet[:1] == b"\x50":
        return b"\x50\x00" + packet
    return packet


def unframe(framing: Framing, payload: bytes) -> bytes:
    """The inner packet. Raises ``Compressed`` when it is not one in clear."""
    if framing is Framing.STUB or framing is Framing.STUB_SWAP:
        # Either marker is taken: each says how it is to be undone.
        if payload[:1] == b"\xfa":
            return payload[1:]
        if payload[:1] == b"\xfb":
            return payload[-1:] + payload[1:-1] if len(payload) > 1 else b""
        raise Compressed("data packet whose compression byte is neither 0xfa nor 0xfb")
    if framing is Framing.STUB_V2 and payload[:1] == b"\x50":
        if payload[1:2] == b"\x00":
            return payload[2:]
        raise Compressed("data packet compressed in the v2 format")
    return payload


def _implicit_iv(iv: SecretBytes) -> bytes:
    if len(iv) != IMPLICIT_IV_SIZE:
        raise UsageError(f"an implicit IV has {IMPLICIT_IV_SIZE} bytes, not {len(iv)}")
    return iv.reveal()
