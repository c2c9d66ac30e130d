"""The native worker: the user-space data path in C (see docs/decisions/native-worker.md).

``datapath.py`` is the Python side. The extension is built by the package's own build; where there
was no compiler it is missing, and the data path in Python serves.
"""

from __future__ import annotations

from collections.abc import Collection

from ovpn6.datapath.interface import Capabilities
from ovpn6.datapath.offload.switch import VARIABLE, Offload
from ovpn6.model.ciphers import CIPHERS
from ovpn6.model.specs import Framing

CAPABILITIES = Capabilities(
    name="user space (native)",
    ciphers=tuple(CIPHERS),
    framings=frozenset(Framing),
    data_epoch=True,
    ecn=True,
)


def unavailable(without: Collection[Offload]) -> str:
    """Why the native worker cannot be used, "" when it can."""
    if Offload.NATIVE in without:
        return f"{VARIABLE} turns the native worker off"
    try:
        from ovpn6.datapath.fastpath import _fastpath  # noqa: F401
    except ImportError as error:
        return f"the native worker was not built ({error})"
    return ""


def describe(without: Collection[Offload]) -> str:
    """Which library seals and opens: one line for the log."""
    from ovpn6.datapath.fastpath._fastpath import describe_crypto

    provider = provider_of(without)
    aes, chacha = (
        describe_crypto(cipher, provider) or describe_crypto(cipher)
        for cipher in ("AES-256-GCM", "CHACHA20-POLY1305")
    )
    if aes == chacha:
        return f"fast path: AEAD from {aes}"
    return f"fast path: AES-GCM from {aes}, ChaCha20-Poly1305 from {chacha}"


def provider_of(without: Collection[Offload]) -> str:
    """The crypto library to insist on, "" for the best of each cipher."""
    return "openssl" if Offload.IPSEC_MB in without else ""
