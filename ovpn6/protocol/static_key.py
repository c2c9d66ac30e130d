"""OpenVPN static keys: the 2048-bit file behind tls-auth, tls-crypt and a tls-crypt-v2 client.

Source: OpenVPN ``crypto.c`` (``read_key_file``, ``write_key_file``). The file holds two slots of
128 bytes; a slot is 64 bytes of cipher key, then 64 bytes of HMAC key, of which an algorithm takes
as many from the front as it needs. PURE.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ovpn6.model.errors import ConfigError, UsageError
from ovpn6.model.records import dataclass
from ovpn6.model.secrets import SecretBytes

STATIC_KEY_SIZE = 256
SLOT_SIZE = 128
HALF_SLOT_SIZE = 64

_BEGIN = "-----BEGIN OpenVPN Static key V1-----"
_END = "-----END OpenVPN Static key V1-----"
_COMMENT = "#\n# 2048 bit OpenVPN static key\n#\n"
_BYTES_A_LINE = 16
_HEX = re.compile("[0-9A-Fa-f]*")


@dataclass(frozen=True, slots=True)
class StaticKey:
    """256 bytes of shared key material."""

    material: SecretBytes

    def __post_init__(self) -> None:
        if len(self.material) != STATIC_KEY_SIZE:
            raise UsageError(f"a static key has {STATIC_KEY_SIZE} bytes, not {len(self.material)}")

    @classmethod
    def parse(cls, text: str) -> StaticKey:
        """The key in a file that ``--genkey secret`` wrote. Raises ``ConfigError``, no source.

        Lines before the BEGIN line and after the END line are ignored, as are blanks between.
        """
        lines = [line.strip() for line in text.splitlines()]
        if _BEGIN not in lines:
            raise ConfigError("no OpenVPN static key", advice=f"it begins with {_BEGIN}")
        body = lines[lines.index(_BEGIN) + 1 :]
        if _END not in body:
            raise ConfigError("static key is cut off", advice=f"it ends with {_END}")
        digits = "".join("".join(body[: body.index(_END)]).split())
        if not _HEX.fullmatch(digits):
            raise ConfigError("static key holds something other than hexadecimal digits")
        if len(digits) != 2 * STATIC_KEY_SIZE:
            raise ConfigError(
                f"static key of {len(digits) * 4} bits, 2048 are needed",
                advice="make one with --genkey secret FILE",
            )
        return cls(SecretBytes(bytes.fromhex(digits)))

    @classmethod
    def generate(cls, entropy: Callable[[int], bytes]) -> StaticKey:
        """A new key from ``entropy(256)``."""
        return cls(SecretBytes(entropy(STATIC_KEY_SIZE)))

    def encode(self) -> str:
        """The text of a key file, as stock writes it."""
        material = self.material.reveal()
        rows = range(0, STATIC_KEY_SIZE, _BYTES_A_LINE)
        digits = "".join(f"{material[row : row + _BYTES_A_LINE].hex()}\n" for row in rows)
        return f"{_COMMENT}{_BEGIN}\n{digits}{_END}\n"

    def slot(self, index: int) -> tuple[SecretBytes, SecretBytes]:
        """``(cipher key, HMAC key)`` of slot 0 or 1, 64 bytes each."""
        if index not in (0, 1):
            raise UsageError(f"a static key has no slot {index}")
        start = index * SLOT_SIZE
        middle = start + HALF_SLOT_SIZE
        material = self.material.reveal()
        return SecretBytes(material[start:middle]), SecretBytes(
            material[middle : start + SLOT_SIZE]
        )
