"""Certificates made at test time: an authority, its children, and what can be wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ovpn6.config.schema import FileRef
from ovpn6.model.errors import Source

SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH
NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    def locked_key_pem(self, passphrase: bytes) -> str:
        return self.key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase)
        ).decode()

    @property
    def pin(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex()


def inline(text: str) -> FileRef:
    """The text as an inline block."""
    return FileRef(Source("test.conf", 1), inline=text)


def authority(name: str = "Test CA") -> Pair:
    """A self-signed authority, fresh each time."""
    return _sign(_name(name), None, ca=True)


def child(
    issuer: Pair,
    name: str,
    *,
    usage: x509.ObjectIdentifier | None = CLIENT_AUTH,
    key_usage: bool = True,
    begins: datetime = NOW - DAY,
    ends: datetime = NOW + 30 * DAY,
    ca: bool = False,
    subject: x509.Name | None = None,
) -> Pair:
    """A certificate signed by ``issuer``."""
    return _sign(
        subject or _name(name),
        issuer,
        ca=ca,
        usage=usage,
        key_usage=key_usage,
        begins=begins,
        ends=ends,
    )


def self_signed(name: str) -> Pair:
    """A certificate without authority, for peer-fingerprint."""
    return _sign(_name(name), None, usage=None)


def revocations(
    issuer: Pair, *revoked: Pair, updated: datetime = NOW - DAY, due: datetime = NOW + 30 * DAY
) -> str:
    """A CRL in PEM."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(updated)
        .next_update(due)
    )
    for pair in revoked:
        entry = (
            x509.RevokedCertificateBuilder()
            .serial_number(pair.certificate.serial_number)
            .revocation_date(updated)
            .build()
        )
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


@dataclass(frozen=True)
class World:
    """One authority with a server and a client; read-only, so tests share it."""

    ca: Pair
    server: Pair
    client: Pair


@cache
def world() -> World:
    """Made once a process."""
    ca = authority()
    return World(ca, child(ca, "gateway.example.org", usage=SERVER_AUTH), child(ca, "alice"))


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "AT"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _sign(
    subject: x509.Name,
    issuer: Pair | None,
    *,
    ca: bool = False,
    usage: x509.ObjectIdentifier | None = None,
    key_usage: bool = False,
    begins: datetime = NOW - DAY,
    ends: datetime = NOW + 30 * DAY,
) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if key_usage:
        builder = builder.add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=True,
                key_cert_sign=ca,
                crl_sign=ca,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    return Pair(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)
