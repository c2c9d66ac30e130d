"""Who the remote end proved to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from ovpn6.model.records import dataclass


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What scripts and log lines need of one verified certificate.

    ``subject`` in OpenVPN's ``X509_NAME_oneline`` order (``C=.., O=.., CN=..``); ``serial`` as an
    integer; ``sha256`` and ``sha1`` lower-case hex without colons; ``fields`` maps the short
    names of the subject (``CN``, ``O`` ...) to values.
    """

    subject: str
    common_name: str
    serial: int
    sha256: str
    sha1: str
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """The verified chain, the peer's own certificate first; empty without a certificate."""

    chain: tuple[CertificateFacts, ...] = ()
    tls_version: str = ""
    tls_cipher: str = ""

    @property
    def common_name(self) -> str:
        """The leaf's common name, "" without a certificate."""
        return self.chain[0].common_name if self.chain else ""
