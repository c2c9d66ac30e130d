"""Which negotiation's data key stands in which slot, and when sending moves to the newest. PURE.

A new key must not seal before the server can open. A stock server makes its keys only when all its
control packets are acknowledged, so two things permit the change: a data packet under the new key
has come from the server (``KeyConfirmed``), or everything we sent has been acknowledged and a
deferral has passed that outlives one lost acknowledgement of ours. When a stock server begins the
next negotiation it forgets the key before the last: then the change is overdue.

Source: OpenVPN ``ssl.c`` (tls_select_encryption_key, key_state_soft_reset).
"""

from __future__ import annotations

from ovpn6.model.flow import Action, DropKey, InstallKey, SwapKeys
from ovpn6.model.names import Instant, KeyId, KeySlot, PeerId
from ovpn6.model.specs import KeyMaterial
from ovpn6.roles.key_change import CLIENT_DEFERRAL, swap_deferral

LEAST_INTERVAL = 2.0
"""Seconds: one early renegotiation says nothing of the next."""


class KeyRing:
    """The slots of a client's only peer. ``reneg_sec`` 0 is never."""

    def __init__(self, peer: PeerId, reneg_sec: float) -> None:
        self._peer = peer
        self._longest = self._deferral = swap_deferral(CLIENT_DEFERRAL, reneg_sec)
        self._renewed_at: Instant | None = None
        self._slots: dict[KeySlot, KeyId] = {}
        self._waiting: KeyId | None = None
        self._acknowledged: set[KeyId] = set()
        self._swap_at: Instant | None = None

    def first(self, key: KeyMaterial, now: Instant) -> list[Action]:
        """The session's first key seals at once."""
        self._renewed_at = now
        self._slots = {KeySlot.PRIMARY: key.key_id}
        return [InstallKey(self._peer, KeySlot.PRIMARY, key)]

    def renewed(self, key: KeyMaterial, now: Instant) -> list[Action]:
        """A renegotiation is through: open with its key, do not seal yet."""
        self._renewed_at = now
        actions = self._swap() if self._waiting is not None else []
        self._slots[KeySlot.SECONDARY] = key.key_id
        self._waiting = key.key_id
        actions.append(InstallKey(self._peer, KeySlot.SECONDARY, key))
        if key.key_id in self._acknowledged:
            self._swap_at = Instant(now + self._deferral)
        return actions

    def acknowledged(self, key_id: KeyId, now: Instant) -> None:
        """The server has everything we sent in this negotiation."""
        self._acknowledged = {key_id}
        if key_id == self._waiting:
            self._swap_at = Instant(now + self._deferral)

    def confirmed(self, key_id: KeyId) -> list[Action]:
        """The server seals with this key."""
        return self._swap() if key_id == self._waiting else []

    def next_begins(self, now: Instant, *, by_peer: bool) -> list[Action]:
        """Another negotiation begins, perhaps while a key still waits."""
        if self._renewed_at is not None:
            # A server does not tell how often it wants new keys.
            interval = max(LEAST_INTERVAL, now - self._renewed_at)
            self._deferral = swap_deferral(self._longest, interval)
        if self._waiting is None or not (by_peer or self._waiting in self._acknowledged):
            return []
        return self._swap()

    def expired(self, key_id: KeyId) -> list[Action]:
        """The key's transition window is over."""
        actions: list[Action] = []
        if self._slots.get(KeySlot.PRIMARY) == key_id and self._waiting is not None:
            actions += self._swap()
        for slot, held in tuple(self._slots.items()):
            if held == key_id:
                del self._slots[slot]
                actions.append(DropKey(self._peer, slot))
        return actions

    def tick(self, now: Instant) -> list[Action]:
        """Make the change that is due."""
        return self._swap() if self._swap_at is not None and now >= self._swap_at else []

    def next_deadline(self) -> Instant | None:
        """When :meth:`tick` is wanted."""
        return self._swap_at

    def _swap(self) -> list[Action]:
        self._waiting = self._swap_at = None
        primary = self._slots.pop(KeySlot.PRIMARY, None)
        self._slots[KeySlot.PRIMARY] = self._slots.pop(KeySlot.SECONDARY)
        if primary is not None:
            self._slots[KeySlot.SECONDARY] = primary
        return [SwapKeys(self._peer)]
