"""Who may be the remote end: OpenVPN's rules on top of OpenSSL's chain verification.

OpenSSL calls :class:`PeerVerifier` once for each certificate, the root first (highest depth), the
peer's own last (depth 0), and also for each error it finds. Sources: OpenVPN
``ssl_verify_openssl.c`` ``verify_callback``, ``ssl_verify.c`` ``verify_cert``.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import field

from cryptography import x509
from OpenSSL import SSL, crypto

from ovpn6.config.schema import TlsConfig
from ovpn6.daemon.certificate_facts import (
    EXTENDED_USAGE_NAMES,
    describe,
    extended_usages,
    key_usage_mask,
)
from ovpn6.daemon.openssl_binding import verify_error_text
from ovpn6.model.errors import ConfigError, PeerError
from ovpn6.model.identity import CertificateFacts
from ovpn6.model.names import Level
from ovpn6.model.records import dataclass

TlsLog = Callable[[Level, str], None]
"""Takes a line about the peer that is being served now."""

KEY_USAGE_REQUIRED = 0xFFFF
MAX_DEPTH = 16
CACHED_CERTIFICATES = 256

_NO_CRL_FOR_ISSUER = 3
"""``X509_V_ERR_UNABLE_TO_GET_CRL``."""


@dataclass(slots=True)
class ChainRecord:
    """What was found in one handshake: accepted certificates by depth, or why it was refused."""

    accepted: dict[int, CertificateFacts] = field(default_factory=dict)
    failure: str = ""

    def chain(self) -> tuple[CertificateFacts, ...]:
        """Accepted certificates, the peer's own first."""
        return tuple(self.accepted[depth] for depth in sorted(self.accepted))


class PeerVerifier:
    """The verify callback of a context; the connection's app data is its :class:`ChainRecord`."""

    def __init__(self, config: TlsConfig, log: TlsLog, *, has_trust_anchor: bool) -> None:
        self._config = config
        self._log = log
        self._pins_only = bool(config.peer_fingerprint) and not has_trust_anchor
        self._extended_usage = _extended_usage(config.remote_cert_eku)
        self._cache: OrderedDict[bytes, tuple[x509.Certificate, CertificateFacts]] = OrderedDict()
        self.crl_missing = False
        """``crl-verify`` names a file that could not be read: nobody is let in."""

    def __call__(
        self, connection: SSL.Connection, raw: crypto.X509, code: int, depth: int, ok: int
    ) -> bool:
        record: ChainRecord = connection.get_app_data()
        try:
            certificate, facts = self._facts(raw, remember=bool(ok))
            if not ok and not self._pins_only:
                return self._library_error(record, facts, code, depth)
            self._check(certificate, facts, depth)
        except PeerError as error:
            return self._refuse(record, str(error))
        except Exception as error:  # OpenSSL takes certificates that other parsers choke on.
            return self._refuse(
                record, f"VERIFY ERROR: depth={depth}, unreadable certificate: {error}"
            )
        record.accepted[depth] = facts
        self._log(Level.INFO, f"VERIFY OK: depth={depth}, {facts.subject}")
        return True

    def require_complete(self, record: ChainRecord, *, certificate_needed: bool) -> None:
        """Everything that must have been checked was. Raises ``PeerError`` otherwise.

        Guards against a chain so short that a rule about its upper end was never asked.
        """
        if 0 not in record.accepted:
            if certificate_needed:
                raise PeerError("the peer sent no certificate")
            return
        if self._config.verify_hash and 1 not in record.accepted:
            raise PeerError("verify-hash: the peer's chain has no level 1 certificate")

    def _refuse(self, record: ChainRecord, why: str) -> bool:
        record.failure = record.failure or why
        self._log(Level.ERROR, why)
        return False

    def _library_error(
        self, record: ChainRecord, facts: CertificateFacts, code: int, depth: int
    ) -> bool:
        text = verify_error_text(code)
        if code == _NO_CRL_FOR_ISSUER:
            self._log(Level.DEBUG, f"VERIFY WARNING: depth={depth}, {text}: {facts.subject}")
            return True
        record.failure = f"{text}: {facts.subject}"
        self._log(
            Level.ERROR,
            f"VERIFY ERROR: depth={depth}, error={text}: {facts.subject}, serial={facts.serial}",
        )
        return False

    def _check(self, certificate: x509.Certificate, facts: CertificateFacts, depth: int) -> None:
        if depth >= MAX_DEPTH:
            raise PeerError(
                f"TLS Error: Convoluted certificate chain detected with depth [{depth}] "
                f"greater than {MAX_DEPTH}"
            )
        self._check_pins(facts, depth)
        if depth == 0:
            self._check_own(certificate, facts)
        self._check_revoked(facts, depth)

    def _check_pins(self, facts: CertificateFacts, depth: int) -> None:
        wanted = {0: self._config.peer_fingerprint, 1: self._config.verify_hash}.get(depth, ())
        if wanted and not any(hmac.compare_digest(facts.sha256, pin) for pin in wanted):
            shown = ":".join(facts.sha256[i : i + 2] for i in range(0, 64, 2))
            raise PeerError(
                "TLS Error: --tls-verify/--peer-fingerprint certificate hash verification "
                f"failed. (got certificate fingerprint: {shown})"
            )

    def _check_own(self, certificate: x509.Certificate, facts: CertificateFacts) -> None:
        if not facts.common_name:
            raise PeerError(
                f"VERIFY ERROR: could not extract {self._config.x509_username_field} from X509 "
                f"subject string ('{facts.subject}') -- note that the field length is limited "
                "to 64 characters"
            )
        self._check_key_usage(certificate)
        if self._extended_usage:
            if self._extended_usage not in extended_usages(certificate):
                raise PeerError("VERIFY EKU ERROR")
            self._log(Level.INFO, "VERIFY EKU OK")
        self._check_name(facts)

    def _check_key_usage(self, certificate: x509.Certificate) -> None:
        allowed = self._config.remote_cert_ku
        if not allowed:
            return
        mask = key_usage_mask(certificate)
        if mask is None:
            raise PeerError(
                "VERIFY KU ERROR: Certificate does not have key usage extension",
            )
        if allowed[0] != KEY_USAGE_REQUIRED and not any(
            usage and mask & usage == usage for usage in allowed
        ):
            expected = ", ".join(f"{usage:04x}" for usage in allowed)
            raise PeerError(
                f"VERIFY KU ERROR: Certificate has key usage {mask:04x}, expected one of {expected}"
            )
        self._log(Level.INFO, "VERIFY KU OK")

    def _check_name(self, facts: CertificateFacts) -> None:
        name = self._config.verify_x509_name
        if not name:
            return
        matches = {
            "subject": facts.subject == name,
            "name": facts.common_name == name,
            "name-prefix": facts.common_name.startswith(name),
        }
        if not matches[self._config.verify_x509_type]:
            raise PeerError(f"VERIFY X509NAME ERROR: {facts.subject}, must be {name}")
        self._log(Level.INFO, f"VERIFY X509NAME OK: {facts.subject}")

    def _check_revoked(self, facts: CertificateFacts, depth: int) -> None:
        if self.crl_missing:
            raise PeerError("VERIFY ERROR: CRL not loaded")
        directory = self._config.crl_verify_dir
        if directory is None:
            return
        try:
            revoked = (directory / str(facts.serial)).exists()
        except OSError as error:
            raise PeerError(f"VERIFY CRL: {directory} cannot be read: {error.strerror}") from None
        if revoked:
            raise PeerError(
                f"VERIFY CRL: depth={depth}, {facts.subject}, serial={facts.serial} is revoked"
            )

    def _facts(
        self, raw: crypto.X509, *, remember: bool
    ) -> tuple[x509.Certificate, CertificateFacts]:
        """What a certificate says. Only one that OpenSSL verified is worth memory: it is ours or
        signed for us, while anybody can send a hundred kilobytes of another."""
        der = crypto.dump_certificate(crypto.FILETYPE_ASN1, raw)
        known = self._cache.get(der)
        if known is not None:
            self._cache.move_to_end(der)
            return known
        certificate = x509.load_der_x509_certificate(der)
        found = certificate, describe(certificate, self._config.x509_username_field)
        if remember:
            self._cache[der] = found
        if len(self._cache) > CACHED_CERTIFICATES:
            self._cache.popitem(last=False)
        return found


def _extended_usage(text: str) -> str:
    """The dotted OID of an extended key usage given by OpenSSL's name or as an OID."""
    if not text:
        return ""
    oid = EXTENDED_USAGE_NAMES.get(text, text)
    if not all(part.isdigit() for part in oid.split(".")):
        raise ConfigError(
            f"remote-cert-eku: unknown extended key usage '{text}'",
            advice="give its OID in dotted form, for example 1.3.6.1.5.5.7.3.1",
        )
    return oid
