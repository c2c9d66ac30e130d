"""TLS over pyOpenSSL's memory BIOs: the engine of one negotiation, and what makes engines.

One context serves every negotiation and is built again only when the CRL file has changed.
Sessions are never resumed, so each handshake verifies the peer.
"""

from __future__ import annotations

import os

from cryptography import x509
from OpenSSL import SSL

from ovpn6.config.schema import TlsConfig
from ovpn6.daemon.tls_context import (
    PassphraseSource,
    build_context,
    load_material,
    own_certificate_warning,
    parse_revocations,
    read_bytes,
)
from ovpn6.daemon.tls_verify import ChainRecord, PeerVerifier, TlsLog
from ovpn6.model.errors import ConfigError, PeerError, UsageError
from ovpn6.model.identity import PeerIdentity
from ovpn6.model.names import Level
from ovpn6.protocol.tls import TlsFailed

_CHUNK = 16_384
"""Largest TLS plaintext; one read gives at most one record."""


class OpenSslEngine:
    """One TLS connection (``ovpn6.protocol.tls.TlsEngine``)."""

    __slots__ = ("_connection", "_established", "_failure", "_identity", "_record", "_tls")

    def __init__(self, tls: OpenSslTls, connection: SSL.Connection, record: ChainRecord) -> None:
        self._tls = tls
        self._connection = connection
        self._record = record
        self._established = False
        self._failure = ""
        self._identity = PeerIdentity()

    def start(self) -> None:
        """Begin the handshake; a client's first flight waits in :meth:`outgoing`."""
        self._handshake()

    def feed(self, ciphertext: bytes) -> None:
        """Bytes from the peer, in order. Raises ``TlsFailed``, then an alert may wait."""
        if self._failure:
            raise TlsFailed(self._failure)
        while ciphertext:
            taken = self._connection.bio_write(ciphertext)
            ciphertext = ciphertext[taken:]
        if not self._established:
            self._handshake()

    def outgoing(self) -> bytes:
        """Take all ciphertext that waits."""
        taken = b""
        while True:
            try:
                chunk = self._connection.bio_read(_CHUNK)
            except SSL.WantReadError:
                return taken
            taken += chunk
            if len(chunk) < _CHUNK:
                return taken

    def records(self) -> list[bytes]:
        """Take the plaintext that has arrived, one item a record. Raises ``TlsFailed``."""
        if not self._established:
            return []
        taken: list[bytes] = []
        while True:
            try:
                taken.append(self._connection.recv(_CHUNK))
            except (SSL.WantReadError, SSL.ZeroReturnError):
                return taken
            except SSL.Error as error:
                raise self._failed(error) from None

    def write(self, plaintext: bytes) -> None:
        """Send one record."""
        if not self._established:
            raise UsageError("write before the handshake has ended")
        try:
            self._connection.sendall(plaintext)
        except SSL.Error as error:
            raise self._failed(error) from None

    @property
    def established(self) -> bool:
        """Handshake complete, certificate accepted."""
        return self._established

    def export(self, label: str, length: int) -> bytes:
        """Keying material without context."""
        return self._connection.export_keying_material(label.encode(), length)

    @property
    def identity(self) -> PeerIdentity:
        """Who the peer proved to be."""
        return self._identity

    def _handshake(self) -> None:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return
        except SSL.Error as error:
            raise self._failed(error) from None
        try:
            self._tls.require_complete(self._record)
        except PeerError as error:
            self._failure = str(error)
            raise TlsFailed(self._failure) from None
        self._identity = PeerIdentity(
            chain=self._record.chain(),
            tls_version=self._connection.get_protocol_version_name(),
            tls_cipher=self._connection.get_cipher_name() or "",
        )
        self._established = True

    def _failed(self, error: SSL.Error) -> TlsFailed:
        self._failure = self._record.failure or _reasons(error)
        return TlsFailed(self._failure)


class OpenSslTls:
    """Makes engines for one side (``ovpn6.protocol.tls.TlsFactory``).

    Construction reads every file and raises ``ConfigError``. Afterwards only the CRL is read
    again, when its modification time or size has changed.
    """

    def __init__(
        self,
        config: TlsConfig,
        *,
        is_server: bool,
        passphrase: PassphraseSource,
        log: TlsLog,
    ) -> None:
        self._config = config
        self._is_server = is_server
        self._log = log
        self._material = load_material(config, passphrase)
        trusted = bool(self._material.authorities or config.capath)
        if not trusted and not config.peer_fingerprint:
            raise ConfigError(
                "nothing to verify the peer with",
                advice="give ca FILE, or peer-fingerprint",
            )
        if is_server and self._material.certificate is None:
            raise ConfigError("a server needs a certificate", advice="give cert FILE and key FILE")
        self._verifier = PeerVerifier(config, log, has_trust_anchor=trusted)
        self._revocations: tuple[x509.CertificateRevocationList, ...] = ()
        self._crl_stamp: tuple[int, int, int] | None = None
        self._load_first_revocations()
        self._context = self._build()
        warning = own_certificate_warning(self._material)
        if warning:
            log(Level.WARNING, warning)

    def __call__(self) -> OpenSslEngine:
        self._refresh_revocations()
        connection = SSL.Connection(self._context, None)
        record = ChainRecord()
        connection.set_app_data(record)
        if self._is_server:
            connection.set_accept_state()
        else:
            connection.set_connect_state()
        return OpenSslEngine(self, connection, record)

    def require_complete(self, record: ChainRecord) -> None:
        """Raises ``PeerError`` when a rule was not applied because the chain was too short."""
        needed = not self._is_server or self._config.verify_client_cert == "require"
        self._verifier.require_complete(record, certificate_needed=needed)

    def cipher_names(self) -> tuple[str, ...]:
        """Every cipher this side would accept, best first."""
        return tuple(SSL.Connection(self._context, None).get_cipher_list())

    def _build(self) -> SSL.Context:
        return build_context(
            self._config,
            self._material,
            self._revocations,
            self._verifier,
            is_server=self._is_server,
        )

    def _load_first_revocations(self) -> None:
        ref = self._config.crl_verify
        if ref is None:
            return
        if ref.path is not None:
            self._crl_stamp = _stamp(ref.path)
        try:
            self._revocations = parse_revocations(read_bytes(ref, "crl-verify"))
        except ValueError as error:
            raise ConfigError(f"crl-verify: no CRL in it: {error}", ref.source) from None

    def _refresh_revocations(self) -> None:
        """As OpenVPN: a file that is gone keeps the last CRL, one that is broken lets nobody in."""
        ref = self._config.crl_verify
        if ref is None or ref.path is None:
            return
        stamp = _stamp(ref.path)
        if stamp == self._crl_stamp:
            return
        self._crl_stamp = stamp
        if stamp is None:
            self._log(
                Level.WARNING, f"WARNING: Failed to stat CRL file {ref.path}, not reloading CRL."
            )
            return
        try:
            fresh = parse_revocations(read_bytes(ref, "crl-verify"))
        except (ValueError, ConfigError) as error:
            self._verifier.crl_missing = True
            self._log(Level.WARNING, f"CRL: cannot read CRL from file {ref.path}: {error}")
            return
        self._revocations = fresh
        self._verifier.crl_missing = False
        self._context = self._build()
        self._log(Level.INFO, f"CRL: loaded {len(fresh)} CRLs from file {ref.path}")


def _stamp(path: os.PathLike[str]) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _reasons(error: SSL.Error) -> str:
    details = error.args[0] if error.args else ()
    if isinstance(details, list | tuple) and details:
        return ", ".join(str(item[-1]) for item in details)
    return str(error) or type(error).__name__
