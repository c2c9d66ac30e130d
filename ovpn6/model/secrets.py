"""Secret bytes that neither print nor compare in variable time."""

from __future__ import annotations

import hmac
from typing import final


@final
class SecretBytes:
    """Key material or a password. ``reveal`` is the only way to the bytes."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = bytes(value)

    def reveal(self) -> bytes:
        """The bytes, for the one call that needs them."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretBytes):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        raise TypeError("secrets are not hashable")

    def __repr__(self) -> str:
        return f"<secret, {len(self._value)} bytes>"
