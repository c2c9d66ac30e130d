"""The data channel in the epoch format: seal, open, and the walk from key to key. PURE.

The reference for every data path, like ``data_channel.py`` for the classic format. A datagram::

    | opcode, key id (1) | peer id (3) | epoch (2) | counter (6) | ciphertext | tag (16) |
    |<---------------- authenticated: 12 bytes ---------------->|

Epoch and counter are the packet id, 64 bits; the counter begins at 1 in each epoch. The nonce is
the packet id, followed by four zero bytes, XOR the 12-byte IV of the epoch (``epoch_keys.py``).

**Sending.** An epoch is left for the next one before a packet when the key has done all it may
(``usage`` of its payloads is above the limit), or its last counter is spent; when the other end
was heard in a later epoch; and, looked at by ``tick``, when the other end's key is overused in the
epoch that we are in as well, which asks it to follow. Who follows stays within ``FUTURE_KEYS`` of
the epoch that it last sealed in: the other end has no keys beyond, however far it went itself. At
``RENEGOTIATE_EPOCH`` a new negotiation is wanted; ``LAST_SEND_EPOCH`` is not left, its key is
exhausted in the end.

**Receiving.** Keys are held for the current epoch, for the one that was current before it, and for
the next ``FUTURE_KEYS``; they are derived in advance, so that a stranger's packet costs a look-up
and never a derivation. Only a packet that opens under a future key moves the current epoch there;
what was between is over. Each epoch has its replay window, made when the epoch begins.

Source: OpenVPN 2.7 ``crypto_epoch.c``, ``crypto.c``, ``ssl.c`` (should_trigger_renegotiation);
draft-openvpntech-openvpn-wire-protocol, "Epoch key usage". OpenVPN 2.7.6 holds 16 future keys,
2.7.8 holds 4.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography.exceptions import InvalidTag

from ovpn6.model.errors import PeerError, UsageError
from ovpn6.model.names import Instant, KeyId
from ovpn6.model.secrets import SecretBytes
from ovpn6.model.specs import DataFormat, KeyMaterial
from ovpn6.protocol.aead import new_aead, refuse
from ovpn6.protocol.data_channel import (
    AuthenticationFailed,
    KeyExhausted,
    Replayed,
    ReplayWindow,
    UsageLimits,
    header_prefix,
    usage,
    usage_limits,
)
from ovpn6.protocol.epoch_keys import (
    EPOCH_SECRET_SIZE,
    FIRST_EPOCH,
    LAST_EPOCH,
    NONCE_SIZE,
    EpochDataKey,
    EpochSecret,
)

EPOCH_HEADER_SIZE = 12
EPOCH_OVERHEAD = EPOCH_HEADER_SIZE + 16
"""Bytes that sealing adds to a payload."""

LAST_COUNTER = (1 << 48) - 1
FUTURE_KEYS = 4
"""Receive keys held for epochs to come."""
RENEGOTIATE_EPOCH = 0xF000
"""From this epoch on a new negotiation is wanted."""
LAST_SEND_EPOCH = LAST_EPOCH - 16 - 1
"""The last one that every OpenVPN opens as a future epoch: it takes none within its number of
future keys of the end."""

_MOST_PAYLOAD = 65_552
"""Octets of a payload, with room for what framing adds to the largest packet."""
_MOST_USAGE = usage(_MOST_PAYLOAD, 1)


class UnknownEpoch(PeerError):
    """No key is held for the packet's epoch: it is past, or too far ahead."""


class EpochSendKey:
    """Seals in one epoch after the other.

    ``packet_id`` is the last one used, 64 bits with the epoch; ``packets`` and ``octets`` count all
    datagrams and payloads of all epochs.
    """

    __slots__ = (
        "_cipher",
        "_earlier_octets",
        "_earlier_packets",
        "_encrypt",
        "_iv",
        "_limits",
        "_prefix",
        "_review_after",
        "_sealed_in",
        "_secret",
        "epoch",
        "key_id",
        "octets",
        "packet_id",
    )

    def __init__(
        self, material: KeyMaterial, send_id: int, limits: UsageLimits | None = None
    ) -> None:
        """``send_id``: the 24-bit peer id that the other end knows us by. Raises ``UsageError``."""
        _check_format(material)
        self.key_id: KeyId = material.key_id
        self.octets = 0
        self._prefix = header_prefix(material.key_id, send_id)
        self._cipher = material.cipher
        self._limits = limits if limits is not None else usage_limits(material.cipher)
        self._earlier_octets = self._earlier_packets = 0
        self._sealed_in = FIRST_EPOCH
        self._secret: EpochSecret | None = None
        self._encrypt: Callable[..., bytes] = refuse
        self._iv = self._review_after = self.epoch = self.packet_id = 0
        self._enter(EpochSecret(FIRST_EPOCH, material.send_key))

    def seal(self, payload: bytes) -> bytes:
        """The datagram. Raises ``KeyExhausted`` when the last epoch is spent."""
        packet_id = self.packet_id + 1
        if packet_id > self._review_after:
            packet_id = self._review()
        self.packet_id = packet_id
        self.octets += len(payload)
        header = self._prefix + packet_id.to_bytes(8, "big")
        nonce = (self._iv ^ packet_id << 32).to_bytes(NONCE_SIZE, "big")
        return header + self._encrypt(nonce, payload, header)

    def reach(self, epoch: int) -> None:
        """Go on in ``epoch``, or as near to it as may be sent in; never back."""
        secret = self._secret
        if secret is None:
            return
        while secret.epoch < min(epoch, LAST_SEND_EPOCH):
            secret = secret.following()
        if secret is not self._secret:
            self._enter(secret)

    def follow(self, epoch: int) -> None:
        """The other end is in ``epoch``, or ought to be: go there, as far as it can open."""
        sealed_in = self.epoch if self._counter else self._sealed_in
        self.reach(min(epoch, sealed_in + FUTURE_KEYS))

    @property
    def packets(self) -> int:
        """How many datagrams were sealed, in all epochs."""
        return self._earlier_packets + self._counter

    @property
    def worn_out(self) -> bool:
        """A new negotiation is wanted soon."""
        return self.epoch >= RENEGOTIATE_EPOCH

    def wipe(self) -> None:
        """Forget the keys; the library clears its own copy when the context goes."""
        self._encrypt = refuse
        self._iv = 0
        self._secret = None
        self._review_after = self.packet_id

    @property
    def _counter(self) -> int:
        return self.packet_id & LAST_COUNTER

    def _enter(self, secret: EpochSecret) -> None:
        """Begin to seal in the secret's epoch."""
        if self._counter:
            self._sealed_in = self.epoch
        self._earlier_packets = self.packets
        self._earlier_octets = self.octets
        key = secret.data_key(self._cipher)
        self._secret = secret
        self.epoch = secret.epoch
        self.packet_id = secret.epoch << 48
        self._iv = int.from_bytes(key.iv.reveal(), "big")
        self._encrypt = new_aead(self._cipher, key.key).encrypt
        self._review_after = self.packet_id

    def _review(self) -> int:
        """Whether one more packet may be sealed in this epoch, else in the next; returns its id.

        How much was used is summed up only as often as the largest packets could reach the limit.
        """
        if self._secret is None:
            raise KeyExhausted(f"key {self.key_id} was wiped")
        limit = self._limits.usage
        used = usage(self.octets - self._earlier_octets, self._counter)
        if self._counter >= LAST_COUNTER or (limit is not None and used > limit):
            if self.epoch >= LAST_SEND_EPOCH:
                raise KeyExhausted(f"key {self.key_id} has used up its last epoch")
            self.reach(self.epoch + 1)
            used = 0
        last = self.epoch << 48 | LAST_COUNTER
        packet_id = self.packet_id + 1
        if limit is not None:
            last = min(last, packet_id + max(0, limit - used) // _MOST_USAGE)
        self._review_after = last
        return packet_id

    def __repr__(self) -> str:
        return f"<EpochSendKey {self.key_id}, epoch {self.epoch}, counter {self._counter}>"


class EpochReceiveKey:
    """Opens in the current epoch, the one before it and ``future_keys`` to come.

    ``packets`` and ``octets`` count all that opened; ``failures`` those of the current epoch that
    did not.
    """

    __slots__ = (
        "_cipher",
        "_current",
        "_future",
        "_future_keys",
        "_limits",
        "_new_window",
        "_past",
        "_secret",
        "_send",
        "key_id",
        "octets",
        "packets",
    )

    def __init__(
        self,
        material: KeyMaterial,
        send: EpochSendKey,
        new_window: Callable[[], ReplayWindow] = ReplayWindow,
        limits: UsageLimits | None = None,
        future_keys: int = FUTURE_KEYS,
    ) -> None:
        """``send``: the other direction of the same key, which is taken along to later epochs.
        ``new_window`` makes the replay window of one epoch."""
        _check_format(material)
        self.key_id: KeyId = material.key_id
        self.packets = 0
        self.octets = 0
        self._send = send
        self._cipher = material.cipher
        self._limits = limits if limits is not None else usage_limits(material.cipher)
        self._new_window = new_window
        self._future_keys = future_keys
        self._secret = EpochSecret(FIRST_EPOCH, material.receive_key)
        self._current = _OpeningKey(self._cipher, self._secret.data_key(self._cipher))
        self._current.replay = new_window()
        self._past: _OpeningKey | None = None
        self._future: list[_OpeningKey] = []
        """For the epochs after the current one, without gaps."""
        self._derive_future()

    def open(self, datagram: bytes) -> bytes:
        """The payload of one P_DATA_V2 datagram whose opcode and key id were looked at already.

        Raises ``UnknownEpoch``, ``AuthenticationFailed``, ``Replayed``, or plain ``PeerError`` for
        one too short to hold a payload. Nothing changes then but a count of failures.
        """
        if len(datagram) <= EPOCH_OVERHEAD:
            raise PeerError(f"data packet of {len(datagram)} bytes")
        packet_id = int.from_bytes(datagram[4:12], "big")
        key = self._current
        if packet_id >> 48 != key.epoch:
            key = self._find(packet_id >> 48)
        nonce = (key.iv ^ packet_id << 32).to_bytes(NONCE_SIZE, "big")
        try:
            payload = key.decrypt(nonce, datagram[12:], datagram[:12])
        except InvalidTag:
            key.failed(self._limits.failures)
            raise AuthenticationFailed("data packet with a wrong tag") from None
        counter = packet_id & LAST_COUNTER
        replay = key.replay
        if replay is None:
            replay = self._advance(key, counter)
        if counter == replay.highest + 1 and not replay.missing:
            replay.highest = counter
        else:
            replay.accept(counter)
        self.packets += 1
        self.octets += len(payload)
        key.octets += len(payload)
        return payload

    def is_newest(self, datagram: bytes) -> bool:
        """Whether no later one than this has opened."""
        packet_id = int.from_bytes(datagram[4:12], "big")
        replay = self._current.replay
        return replay is not None and packet_id == self.epoch << 48 | replay.highest

    def tick(self, now: Instant) -> None:
        """About once a second: the replay windows' clocks, what is left of the way after the
        other end, and whether it has to be asked for its next epoch."""
        for key in (self._current, self._past):
            if key is not None and key.replay is not None:
                key.replay.tick(now)
        self._send.follow(self.epoch)
        if self._send.epoch == self.epoch and self._overused():
            self._send.follow(self.epoch + 1)

    @property
    def epoch(self) -> int:
        """The latest one that the other end was heard in."""
        return self._current.epoch

    @property
    def failures(self) -> int:
        """Packets of the current epoch that did not open."""
        return self._current.failures

    @property
    def worn_out(self) -> bool:
        """Never by itself: the send key follows to where a new negotiation is wanted."""
        return False

    def wipe(self) -> None:
        """Forget the keys; nothing opens any more."""
        self._current.wipe()
        self._past = None
        self._future.clear()
        self._secret = EpochSecret(self._secret.epoch, SecretBytes(bytes(EPOCH_SECRET_SIZE)))

    def _find(self, epoch: int) -> _OpeningKey:
        """The key of another epoch than the current one."""
        past = self._past
        if past is not None and past.epoch == epoch:
            return past
        ahead = epoch - self._current.epoch
        if not 0 < ahead <= len(self._future):
            raise UnknownEpoch(f"data packet of epoch {epoch}, the current one is {self.epoch}")
        return self._future[ahead - 1]

    def _advance(self, key: _OpeningKey, counter: int) -> ReplayWindow:
        """An authentic packet came under a future key, which becomes the current one."""
        if counter == 0:
            raise Replayed("packet id 0")
        del self._future[: key.epoch - self._current.epoch]
        self._past = self._current
        self._current = key
        key.replay = self._new_window()
        self._derive_future()
        self._send.follow(key.epoch)
        return key.replay

    def _derive_future(self) -> None:
        highest = min(self._current.epoch + self._future_keys, LAST_EPOCH)
        while self._secret.epoch < highest:
            self._secret = self._secret.following()
            self._future.append(_OpeningKey(self._cipher, self._secret.data_key(self._cipher)))

    def _overused(self) -> bool:
        """The key of the current epoch has opened more than it should, or too often failed."""
        key, limit = self._current, self._limits.usage
        if key.failures > self._limits.failures // 2:
            return True
        highest = key.replay.highest if key.replay is not None else 0
        return limit is not None and usage(key.octets, highest) > limit

    def __repr__(self) -> str:
        return f"<EpochReceiveKey {self.key_id}, epoch {self.epoch}, {self.packets} packets>"


class _OpeningKey:
    """One epoch's receive key. ``replay`` is None while the epoch is still to come."""

    __slots__ = ("decrypt", "epoch", "failures", "iv", "octets", "replay")

    def __init__(self, cipher: str, key: EpochDataKey) -> None:
        self.epoch = key.epoch
        self.iv = int.from_bytes(key.iv.reveal(), "big")
        self.decrypt: Callable[..., bytes] = new_aead(cipher, key.key).decrypt
        self.replay: ReplayWindow | None = None
        self.octets = 0
        self.failures = 0

    def failed(self, most: int) -> None:
        """One more packet that did not open; past ``most`` none does."""
        self.failures += 1
        if self.failures > most:
            self.wipe()

    def wipe(self) -> None:
        """Forget the key."""
        self.decrypt = refuse
        self.iv = 0


def _check_format(material: KeyMaterial) -> None:
    if material.data_format is not DataFormat.EPOCH:
        raise UsageError("these keys are not of the epoch format")
