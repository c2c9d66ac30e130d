"""Which key ids of one client are where: the order of install, swap and drop. PURE.

The first key goes to PRIMARY when the options are pushed. A later one goes to SECONDARY as soon as
its negotiation is through *and* the client proved itself again; it changes places with the old one
once the client is known to have it, and the old one is dropped when its time is over. So at no
moment is a packet sealed by a key that the client cannot have.
"""

from __future__ import annotations

from dataclasses import field
from enum import Enum

from ovpn6.model.names import KeyId, KeySlot
from ovpn6.model.records import dataclass


class KeyFact(Enum):
    """What became known of one key id."""

    EXCHANGED = "its negotiation is through"
    VERIFIED = "the client proved itself under it"
    CONFIRMED = "the client has it"


class KeyStep(Enum):
    """What the datapath must do, in order."""

    INSTALL = "install the key in SECONDARY"
    SWAP = "swap the slots"
    DROP_SECONDARY = "empty SECONDARY"
    KEYLESS = "no working key is left"


_USABLE = frozenset({KeyFact.EXCHANGED, KeyFact.VERIFIED})


@dataclass(slots=True)
class KeyRing:
    """The key ids of one client."""

    slots: dict[KeySlot, KeyId] = field(default_factory=dict)
    _facts: dict[KeyId, set[KeyFact]] = field(default_factory=dict)

    def is_usable(self, key_id: KeyId) -> bool:
        """Negotiated and verified."""
        return self._facts.get(key_id, set()) >= _USABLE

    def has(self, key_id: KeyId, fact: KeyFact) -> bool:
        """Whether this much is known."""
        return fact in self._facts.get(key_id, ())

    def begin(self, key_id: KeyId) -> None:
        """A negotiation begins: what was known of an earlier one under this id is void."""
        self._facts.pop(key_id, None)
        self._facts[key_id] = set()

    def newest_usable(self) -> KeyId | None:
        """The latest key id that is negotiated and verified."""
        usable = [key_id for key_id in self._facts if self.is_usable(key_id)]
        return usable[-1] if usable else None

    def first_installed(self, key_id: KeyId) -> None:
        """This key is in PRIMARY now."""
        self.slots = {KeySlot.PRIMARY: key_id}

    def learn(self, key_id: KeyId, fact: KeyFact) -> list[KeyStep]:
        """Note a fact; returns what follows from it. Nothing does before ``first_installed``."""
        known = self._facts.setdefault(key_id, set())
        known.add(fact)
        if not self.slots or self.slots.get(KeySlot.PRIMARY) == key_id:
            return []
        steps: list[KeyStep] = []
        if known >= _USABLE and self.slots.get(KeySlot.SECONDARY) != key_id:
            self.slots[KeySlot.SECONDARY] = key_id
            steps.append(KeyStep.INSTALL)
        confirmed = known >= _USABLE and KeyFact.CONFIRMED in known
        if confirmed and self.slots.get(KeySlot.SECONDARY) == key_id:
            self._swap()
            steps.append(KeyStep.SWAP)
        return steps

    def expire(self, key_id: KeyId) -> list[KeyStep]:
        """The key's time is over."""
        self._facts.pop(key_id, None)
        if self.slots.get(KeySlot.SECONDARY) == key_id:
            del self.slots[KeySlot.SECONDARY]
            return [KeyStep.DROP_SECONDARY]
        if self.slots.get(KeySlot.PRIMARY) != key_id:
            return []
        if KeySlot.SECONDARY not in self.slots:
            self.slots.clear()
            return [KeyStep.KEYLESS]
        self._swap()
        del self.slots[KeySlot.SECONDARY]
        return [KeyStep.SWAP, KeyStep.DROP_SECONDARY]

    def _swap(self) -> None:
        """The old key's facts go: a late confirmation of it must not bring it back."""
        old = self.slots[KeySlot.PRIMARY]
        self._facts.pop(old, None)
        self.slots[KeySlot.PRIMARY] = self.slots[KeySlot.SECONDARY]
        self.slots[KeySlot.SECONDARY] = old
