"""What the AEAD libraries alone cost for the octets that a TCP stream puts through a tunnel."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ovpn6.lab import process
from ovpn6.lab.errors import LabError
from ovpn6.pki.profile import TUN_MTU

PYTHON_LIBRARY = "cryptography"
OPENSSL = "OpenSSL"
"""The machine's own."""
PAYLOAD = TUN_MTU - 40 - 20 - 12
"""Octets of a TCP stream in a full packet: without the headers of IPv6 and of TCP, with
timestamps."""

_SOURCE = Path(__file__).with_name("floor.c")
_COMPILE = ("cc", "-O2", "-o")
_WITH_IPSEC_MB = ("-DHAVE_IPSEC_MB", "-lIPSec_MB")
_TRAIN = 45
_HEAD, _NONCE = 8, 12


def cost_of_packet(milliseconds: int) -> dict[str, float]:
    """Nanoseconds of processor time to seal and open a full packet, by library. Each gets that
    many milliseconds. Raises :class:`LabError` without a compiler."""
    found = {PYTHON_LIBRARY: _in_python(milliseconds / 1000)}
    with TemporaryDirectory() as directory:
        program = str(Path(directory, "floor"))
        _compile(program)
        printed = process.run([program, str(TUN_MTU), str(milliseconds)]).stdout
    for line in printed.splitlines():
        name, sealing, opening = line.split("\t")
        found[name] = float(sealing) + float(opening)
    return found


def seconds_a_gigabit(nanoseconds: float) -> float:
    """Of TCP payload, when a full packet takes that long."""
    return nanoseconds / (PAYLOAD * 8)


def _compile(program: str) -> None:
    words = [*_COMPILE, program, str(_SOURCE)]
    try:
        process.run([*words, *_WITH_IPSEC_MB, "-lcrypto"])
    except LabError:
        process.run([*words, "-lcrypto"])


def _in_python(seconds: float) -> float:
    aead = AESGCM(bytes(32))
    text, head = bytes(TUN_MTU), bytes(_HEAD)
    spent, packets = 0.0, 0
    while spent < seconds:
        started = time.process_time()
        for number in range(packets, packets + _TRAIN):
            nonce = number.to_bytes(_NONCE, "big")
            aead.decrypt(nonce, aead.encrypt(nonce, text, head), head)
        spent += time.process_time() - started
        packets += _TRAIN
    return spent / packets * 1e9
