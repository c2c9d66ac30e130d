"""X.509 as a tunnel needs it: a CA, server and client certificates, a revocation list.

Builds and reads, touches no file. RFC 5280; the purposes are those that OpenVPN's
``remote-cert-tls`` asks for.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import Enum

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ovpn6.model.errors import ConfigError
from ovpn6.model.records import dataclass

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

BACKDATED = timedelta(hours=1)
"""Certificates begin this long ago: a peer whose clock is late takes a new one at once."""


class KeyType(Enum):
    """Algorithm of a key pair. P-256 is understood by TLS peers of every age."""

    P256 = "p256"
    ED25519 = "ed25519"


class Purpose(Enum):
    """What a certificate may be used for: the value is its extended key usage."""

    SERVER = ExtendedKeyUsageOID.SERVER_AUTH
    CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key; ``repr`` shows neither."""

    certificate: x509.Certificate
    key: PrivateKey

    def __repr__(self) -> str:
        return f"Pair(serial={self.certificate.serial_number:x})"


@dataclass(frozen=True, slots=True)
class Revocation:
    """One line of a revocation list."""

    serial: int
    revoked: datetime


def new_ca(name: str, key_type: KeyType, now: datetime, lifetime: timedelta) -> Pair:
    """A self-signed CA that signs end certificates only (path length 0)."""
    key = _new_key(key_type)
    subject = _common_name(name)
    builder = (
        _builder(subject, subject, key, now, now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False)
    )
    return Pair(builder.sign(key, _digest(key)), key)


def new_certificate(
    ca: Pair, name: str, purpose: Purpose, key_type: KeyType, now: datetime, lifetime: timedelta
) -> Pair:
    """A certificate for ``name`` by ``ca``. It never outlives the CA."""
    end = min(now + lifetime, ca.certificate.not_valid_after_utc)
    if end <= now:
        raise ConfigError("the CA's certificate has expired", advice="start a new authority")
    key = _new_key(key_type)
    builder = (
        _builder(_common_name(name), ca.certificate.subject, key, now, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose.value]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False
        )
    )
    return Pair(builder.sign(ca.key, _digest(ca.key)), key)


def new_crl(
    ca: Pair, number: int, revocations: Iterable[Revocation], now: datetime, lifetime: timedelta
) -> str:
    """The signed revocation list in PEM, valid ``lifetime`` from ``now``."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.certificate.subject)
        .last_update(now - BACKDATED)
        .next_update(now + lifetime)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False
        )
    )
    for revocation in revocations:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(revocation.serial)
            .revocation_date(revocation.revoked)
            .build()
        )
    crl = builder.sign(ca.key, _digest(ca.key))
    return crl.public_bytes(serialization.Encoding.PEM).decode()


def certificate_pem(certificate: x509.Certificate) -> str:
    """The certificate in PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def key_pem(key: PrivateKey) -> str:
    """The private key in PEM (PKCS #8, not encrypted)."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def read_certificate(pem: str, name: str) -> x509.Certificate:
    """The certificate in ``pem``; raises :class:`ConfigError` that says ``name``."""
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        raise ConfigError(f"{name} is not a certificate in PEM: {error}") from error


def read_key(pem: str, name: str) -> PrivateKey:
    """The private key in ``pem``; raises :class:`ConfigError` that says ``name``."""
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name} is not an unencrypted private key in PEM") from error
    if isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        return key
    raise ConfigError(f"{name} is neither a P-256 nor an Ed25519 key")


def key_type_of(key: PrivateKey) -> KeyType:
    """Which of our algorithms a key belongs to."""
    return KeyType.ED25519 if isinstance(key, ed25519.Ed25519PrivateKey) else KeyType.P256


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate as ``peer-fingerprint`` wants it: ``AB:CD:...``, 32 octets."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def _new_key(key_type: KeyType) -> PrivateKey:
    if key_type is KeyType.ED25519:
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1())


def _digest(key: PrivateKey) -> hashes.SHA256 | None:
    # Ed25519 hashes by itself (RFC 8410).
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PrivateKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
