"""Makes the kernel's ciphers complete later, in another context: then both of ours always do.

The kernel builds an algorithm when somebody asks for it by its full name, and from then on prefers
it to the one inside, for everybody.
"""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path

CIPHERS = ("gcm(aes)", "rfc7539(chacha20,poly1305)")
_ENTRY = re.compile(r"^name\s*: (.*)\ndriver\s*: (.*)\n(?:.*\n)*?priority\s*: (\d+)", re.MULTILINE)


def main() -> int:
    for cipher in CIPHERS:
        with socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET) as asked:
            asked.bind(("aead", f"cryptd({cipher})"))
        preferred = _preferred(cipher)
        print(f"{cipher} is {preferred}")
        if not preferred.startswith("cryptd("):
            return 1
    return 0


def _preferred(cipher: str) -> str:
    """The driver that the kernel takes for a cipher."""
    text = Path("/proc/crypto").read_text(encoding="ascii")
    found = [(int(level), driver) for name, driver, level in _ENTRY.findall(text) if name == cipher]
    return max(found)[1] if found else "missing"


if __name__ == "__main__":
    sys.exit(main())
