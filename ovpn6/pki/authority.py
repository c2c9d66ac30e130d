"""A certificate authority in a directory: issues, revokes, writes profiles.

    authority = Authority.create(Path("pki"))
    authority.issue_server("gateway")
    authority.issue_client("laptop")
    text = authority.profile("laptop", ClientProfile((RemoteLine("vpn.example.org"),)))

The directory is shared by the processes that open it; each change happens under a lock.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ovpn6.model.errors import ConfigError
from ovpn6.model.records import dataclass, replace
from ovpn6.pki import certificates, profile, storage, wrap_keys
from ovpn6.pki.certificates import KeyType, Pair, Purpose
from ovpn6.pki.index import Entry, Index
from ovpn6.pki.profile import ClientProfile, Material, ServerProfile, Wrap
from ovpn6.pki.storage import Layout

CA_DAYS = 3650
CERTIFICATE_DAYS = 825
CRL_DAYS = 3650
"""Long: a list that runs out unattended locks every client out. Revoking writes a new one."""

_ADVICE = "make an authority with: ovpn6 pki init"


@dataclass(frozen=True, slots=True)
class Issued:
    """A new certificate: where it lies, and its SHA-256 for ``peer-fingerprint``."""

    name: str
    certificate: Path
    key: Path
    fingerprint: str


class Authority:
    """An existing authority. ``clock`` is where it takes the time from."""

    def __init__(self, directory: Path | str, clock: Callable[[], datetime] | None = None) -> None:
        """Opens ``directory``; raises :class:`ConfigError` when no authority lives there."""
        self.files = Layout(Path(directory))
        self._clock = clock or _utc_now
        storage.read_file(self.files.ca_certificate, _ADVICE)

    @classmethod
    def create(
        cls,
        directory: Path | str,
        key_type: KeyType = KeyType.P256,
        *,
        name: str = "ovpn6 CA",
        days: int = CA_DAYS,
        force: bool = False,
        clock: Callable[[], datetime] | None = None,
    ) -> Authority:
        """A new authority with its wrap keys and an empty revocation list.

        Raises :class:`ConfigError` when there is one already and ``force`` is not given: a new one
        makes every certificate of the old one worthless.
        """
        files = Layout(Path(directory))
        if not force and files.ca_key.exists():
            raise ConfigError(f"{files.ca_key} already exists", advice="--force starts anew")
        files.make()
        now = (clock or _utc_now)()
        with storage.locked(files.root):
            ca = certificates.new_ca(name, key_type, now, timedelta(days=days))
            wrap = {
                files.tls_crypt: wrap_keys.static_key(),
                files.tls_auth: wrap_keys.static_key(),
                files.tls_crypt_v2_server: wrap_keys.tls_crypt_v2_server(),
            }
            storage.write_file(files.ca_key, certificates.key_pem(ca.key), force=force)
            for path, text in wrap.items():
                storage.write_file(path, text, force=force)
            storage.write_file(files.index, Index().encode(), force=force)
            storage.write_file(
                files.ca_certificate,
                certificates.certificate_pem(ca.certificate),
                mode=storage.PUBLIC,
                force=force,
            )
        authority = cls(directory, clock)
        authority.write_crl()
        return authority

    def issue_server(
        self, name: str, *, days: int = CERTIFICATE_DAYS, force: bool = False
    ) -> Issued:
        """A server's certificate and key. Raises :class:`ConfigError` for a name in use."""
        return self._issue(name, Purpose.SERVER, days, force)

    def issue_client(
        self, name: str, *, days: int = CERTIFICATE_DAYS, force: bool = False
    ) -> Issued:
        """A client's certificate, key and tls-crypt-v2 key. ``force`` renews an existing one."""
        return self._issue(name, Purpose.CLIENT, days, force)

    def revoke(self, name: str) -> None:
        """Revoke every certificate of ``name`` and write the revocation list.

        Raises :class:`ConfigError` when there is none in force.
        """
        with storage.locked(self.files.root):
            self._save(self._index().revoke(name, self._clock()))
            self._write_crl(CRL_DAYS)

    def write_crl(self, days: int = CRL_DAYS) -> Path:
        """Sign the revocation list anew, valid for ``days``; returns where it lies."""
        with storage.locked(self.files.root):
            return self._write_crl(days)

    def entries(self) -> tuple[Entry, ...]:
        """Every certificate ever issued, oldest first."""
        return self._index().entries

    def fingerprint(self, name: str) -> str:
        """SHA-256 of ``name``'s certificate for ``peer-fingerprint``; ``ca`` is the authority's."""
        path = self.files.ca_certificate if name == "ca" else self.files.issued(name)
        text = storage.read_file(path)
        return certificates.fingerprint(certificates.read_certificate(text, str(path)))

    def profile(self, name: str, wanted: ClientProfile) -> str:
        """The complete inline ``.ovpn`` text of a client."""
        self._check_purpose(name, Purpose.CLIENT)
        return profile.client_text(name, wanted, self._material(name, wanted.wrap))

    def server_profile(self, name: str, wanted: ServerProfile) -> str:
        """The complete inline configuration of a server."""
        self._check_purpose(name, Purpose.SERVER)
        material = self._material(name, wanted.wrap)
        if not wanted.crl_path:
            material = replace(material, crl=storage.read_file(self.files.crl))
        return profile.server_text(name, wanted, material)

    # --- how ---

    def _issue(self, name: str, purpose: Purpose, days: int, force: bool) -> Issued:
        storage.check_name(name)
        files = self.files
        if name == "ca":
            raise ConfigError("'ca' names the authority itself")
        with storage.locked(files.root):
            if not force and files.issued(name).exists():
                raise ConfigError(
                    f"{name!r} has a certificate", advice="--force makes another; revoke ends it"
                )
            ca = self._ca()
            now = self._clock()
            key_type = certificates.key_type_of(ca.key)
            pair = certificates.new_certificate(
                ca, name, purpose, key_type, now, timedelta(days=days)
            )
            # Into the index first: what exists can always be revoked.
            self._save(self._index().with_entry(_entry(name, purpose, pair, now)))
            if purpose is Purpose.CLIENT:
                server_key = storage.read_file(files.tls_crypt_v2_server)
                v2_key = wrap_keys.tls_crypt_v2_client(server_key, now=now)
                storage.write_file(files.tls_crypt_v2(name), v2_key, force=force)
            storage.write_file(files.private(name), certificates.key_pem(pair.key), force=force)
            storage.write_file(
                files.issued(name),
                certificates.certificate_pem(pair.certificate),
                mode=storage.PUBLIC,
                force=force,
            )
        return Issued(
            name,
            files.issued(name),
            files.private(name),
            certificates.fingerprint(pair.certificate),
        )

    def _ca(self) -> Pair:
        files = self.files
        certificate = storage.read_file(files.ca_certificate, _ADVICE)
        key = storage.read_file(files.ca_key, "the CA's key is needed to sign")
        return Pair(
            certificates.read_certificate(certificate, str(files.ca_certificate)),
            certificates.read_key(key, str(files.ca_key)),
        )

    def _index(self) -> Index:
        return Index.decode(storage.read_file(self.files.index, _ADVICE), str(self.files.index))

    def _save(self, index: Index) -> None:
        storage.write_file(self.files.index, index.encode(), force=True)

    def _write_crl(self, days: int) -> Path:
        index = self._index()
        number = index.crl_number + 1
        crl = certificates.new_crl(
            self._ca(), number, index.revocations(), self._clock(), timedelta(days=days)
        )
        self._save(replace(index, crl_number=number))
        storage.write_file(self.files.crl, crl, mode=storage.PUBLIC, force=True)
        return self.files.crl

    def _check_purpose(self, name: str, purpose: Purpose) -> None:
        entry = self._index().newest(name)
        if entry.revoked is not None:
            raise ConfigError(f"{name!r} is revoked")
        if entry.purpose is not purpose:
            raise ConfigError(f"{name!r} is a {entry.purpose.name.lower()}'s certificate")

    def _material(self, name: str, wrap: Wrap) -> Material:
        files = self.files
        is_server = self._index().newest(name).purpose is Purpose.SERVER
        wrap_key = {
            Wrap.NONE: None,
            Wrap.TLS_CRYPT: files.tls_crypt,
            Wrap.TLS_AUTH: files.tls_auth,
            Wrap.TLS_CRYPT_V2: files.tls_crypt_v2_server if is_server else files.tls_crypt_v2(name),
        }[wrap]
        return Material(
            ca=storage.read_file(files.ca_certificate),
            certificate=storage.read_file(files.issued(name)),
            key=storage.read_file(files.private(name)),
            wrap_key=storage.read_file(wrap_key) if wrap_key else "",
        )


def _entry(name: str, purpose: Purpose, pair: Pair, now: datetime) -> Entry:
    certificate = pair.certificate
    return Entry(
        name=name,
        purpose=purpose,
        serial=certificate.serial_number,
        issued=now,
        expires=certificate.not_valid_after_utc,
    )


def _utc_now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
