"""Makes the kernel's ciphers complete later, in another context: then both of ours always do.

The kernel builds an algorithm when somebody asks for it by its full name, here cryptd's, which
queues; then it is made the first choice for everybody.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys

from vm.guest_kmod.kernel_ciphers import UPDATE, best, order, registered

CIPHERS = ("gcm(aes)", "rfc7539(chacha20,poly1305)")
FIRST = 1_000_000


def main() -> int:
    for cipher in CIPHERS:
        driver = _made(cipher)
        error = order(UPDATE, cipher, driver, FIRST)
        chosen = best(cipher)
        print(f"{cipher} is {chosen['driver']}, asynchronous: {chosen['async']}")
        if error or chosen["async"] != "yes":
            print(f"{driver} is not preferred: {os.strerror(error)}")
            return 1
    return 0


def _made(cipher: str) -> str:
    """The driver that queues for a cipher."""
    with (
        socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET) as asked,
        # It was made, of whatever in the kernel does not queue by itself, and has that one's name.
        contextlib.suppress(FileExistsError),
    ):
        asked.bind(("aead", f"cryptd({cipher})"))
    return next(
        driver
        for driver, stanza in registered().items()
        if stanza["name"] == cipher and driver.startswith("cryptd(")
    )


if __name__ == "__main__":
    sys.exit(main())
