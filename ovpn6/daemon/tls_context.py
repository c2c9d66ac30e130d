"""A configured OpenSSL context: certificates, keys and policy from :class:`TlsConfig`.

Files are read once; the context can be built again from them (for a new CRL) without asking for a
passphrase. Source: OpenVPN ``ssl.c`` ``init_ssl``, ``ssl_openssl.c``.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key, pkcs12
from OpenSSL import SSL, crypto

from ovpn6.config.schema import FileRef, TlsConfig
from ovpn6.daemon.openssl_binding import set_groups
from ovpn6.daemon.tls_ciphers import SECURITY_LEVELS, openssl_cipher_list, openssl_suites
from ovpn6.model.errors import ConfigError
from ovpn6.model.records import dataclass
from ovpn6.model.secrets import SecretBytes

VerifyCallback = Callable[[SSL.Connection, crypto.X509, int, int, int], bool]
PassphraseSource = Callable[[str], SecretBytes]
"""Asked with what the passphrase is for, only when a key is encrypted."""

_VERSIONS: dict[str, int] = {
    "1.0": SSL.TLS1_VERSION,
    "1.1": SSL.TLS1_1_VERSION,
    "1.2": SSL.TLS1_2_VERSION,
    "1.3": SSL.TLS1_3_VERSION,
}
_CRL_CHECK = crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """Certificates and key, read and parsed. ``key`` and ``certificate`` come together or not."""

    authorities: tuple[x509.Certificate, ...]
    certificate: x509.Certificate | None
    key: PrivateKeyTypes | None
    chain: tuple[x509.Certificate, ...]

    def __repr__(self) -> str:
        return f"TlsMaterial({len(self.authorities)} authorities, {self.certificate!r})"


def load_material(config: TlsConfig, passphrase: PassphraseSource) -> TlsMaterial:
    """Read everything the configuration names. Raises ``ConfigError`` with the directive's place.

    As in OpenVPN a ``cert`` file may hold the chain behind the certificate, and the authorities
    inside a PKCS#12 file are trusted only when there is no ``ca``.
    """
    authorities = _certificates(config.ca, "ca") if config.ca else ()
    certificate: x509.Certificate | None = None
    key: PrivateKeyTypes | None = None
    chain: tuple[x509.Certificate, ...] = ()
    if config.pkcs12:
        certificate, key, inside = _load_pkcs12(config.pkcs12, passphrase)
        authorities, chain = (authorities, inside) if authorities else (inside, ())
    elif config.cert:
        certificate, *rest = _certificates(config.cert, "cert")
        chain = tuple(rest)
        if config.key is None:
            raise ConfigError("a cert without its key", config.cert.source, "add key FILE")
        key = _private_key(config.key, passphrase)
    if config.extra_certs:
        chain = (*chain, *_certificates(config.extra_certs, "extra-certs"))
    return TlsMaterial(authorities, certificate, key, chain)


def read_bytes(ref: FileRef, directive: str) -> bytes:
    """The content of a file or inline block; ``ConfigError`` when it cannot be read."""
    if ref.inline is not None:
        return ref.inline.encode()
    assert ref.path is not None
    try:
        return ref.path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{directive}: {ref.path}: {error.strerror}", ref.source) from None


def own_certificate_warning(material: TlsMaterial, now: datetime | None = None) -> str:
    """What is wrong with the time of our own certificate, "" when nothing is."""
    if material.certificate is None:
        return ""
    moment = now or datetime.now(UTC)
    if material.certificate.not_valid_before_utc > moment:
        return "WARNING: Your certificate is not yet valid!"
    if material.certificate.not_valid_after_utc < moment:
        return "WARNING: Your certificate has expired!"
    return ""


def build_context(
    config: TlsConfig,
    material: TlsMaterial,
    revocations: tuple[x509.CertificateRevocationList, ...],
    verify: VerifyCallback,
    *,
    is_server: bool,
) -> SSL.Context:
    """A context without session resumption, tickets, compression and renegotiation."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_options(
        SSL.OP_NO_TICKET
        | SSL.OP_NO_COMPRESSION
        | SSL.OP_NO_RENEGOTIATION
        | SSL.OP_SINGLE_DH_USE
        | SSL.OP_CIPHER_SERVER_PREFERENCE
    )
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    _set_policy(context, config)
    _set_trust(context, config, material, revocations, is_server=is_server)
    _set_identity(context, config, material)
    if is_server and config.dh is not None:
        _set_dh(context, config.dh)
    context.set_verify(_verify_mode(config, is_server=is_server), verify)
    return context


def available_ciphers() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """OpenSSL's cipher names with the default policy: a title and its names, twice."""
    context = SSL.Context(SSL.TLS_METHOD)
    _set_policy(context, TlsConfig())
    names = SSL.Connection(context, None).get_cipher_list()
    suites = tuple(name for name in names if name.startswith("TLS_"))
    older = tuple(name for name in names if not name.startswith("TLS_"))
    return (
        ("Available TLS 1.3 ciphers (tls-ciphersuites), in order of preference", suites),
        ("Available TLS 1.2 ciphers (tls-cipher), in order of preference", older),
    )


def parse_revocations(data: bytes) -> tuple[x509.CertificateRevocationList, ...]:
    """Every CRL of a PEM file, or a single one in DER. Raises ``ValueError``."""
    marker = b"-----BEGIN X509 CRL-----"
    if marker not in data:
        return (x509.load_der_x509_crl(data),)
    return tuple(x509.load_pem_x509_crl(marker + block) for block in data.split(marker)[1:])


def _set_policy(context: SSL.Context, config: TlsConfig) -> None:
    context.set_min_proto_version(_VERSIONS[config.tls_version_min])
    if config.tls_version_max:
        context.set_max_proto_version(_VERSIONS[config.tls_version_max])
    profile = config.tls_cert_profile
    names = openssl_cipher_list(config.tls_cipher)
    if profile == "suiteb" and not config.tls_cipher:
        names = "SUITEB128"
    try:
        context.set_cipher_list(f"{names}:@SECLEVEL={SECURITY_LEVELS[profile]}".encode())
    except SSL.Error:
        raise ConfigError(
            f"Failed to set restricted TLS cipher list: {config.tls_cipher}",
            advice="none of these ciphers is known to OpenSSL; see ovpn6 --show-tls",
        ) from None
    if config.tls_ciphersuites:
        try:
            context.set_tls13_ciphersuites(openssl_suites(config.tls_ciphersuites).encode())
        except SSL.Error:
            raise ConfigError(
                f"Failed to set restricted TLS 1.3 cipher list: {config.tls_ciphersuites}",
                advice="see ovpn6 --show-tls",
            ) from None
    if config.tls_groups:
        set_groups(context, config.tls_groups)


def _set_trust(
    context: SSL.Context,
    config: TlsConfig,
    material: TlsMaterial,
    revocations: tuple[x509.CertificateRevocationList, ...],
    *,
    is_server: bool,
) -> None:
    store = context.get_cert_store()
    assert store is not None
    for authority in material.authorities:
        store.add_cert(crypto.X509.from_cryptography(authority))
        if is_server:
            context.add_client_ca(authority)
    if config.capath:
        try:
            context.load_verify_locations(None, str(config.capath))
        except SSL.Error:
            raise ConfigError(f"capath: {config.capath} cannot be used") from None
    if config.crl_verify is not None:
        for revocation in revocations:
            store.add_crl(revocation)
        store.set_flags(_CRL_CHECK)
    elif config.capath:
        store.set_flags(_CRL_CHECK)


def _set_identity(context: SSL.Context, config: TlsConfig, material: TlsMaterial) -> None:
    if material.certificate is None or material.key is None:
        return
    ref = config.pkcs12 or config.cert
    source = ref.source if ref else None
    try:
        context.use_certificate(material.certificate)
    except SSL.Error as error:
        raise ConfigError(f"cert: OpenSSL refuses it: {_reason(error)}", source) from None
    try:
        context.use_privatekey(cast(Any, material.key))
        context.check_privatekey()
    except (SSL.Error, TypeError) as error:
        raise ConfigError(
            f"Private key does not match the certificate: {_reason(error)}", source
        ) from None
    for extra in material.chain:
        context.add_extra_chain_cert(extra)


def _set_dh(context: SSL.Context, ref: FileRef) -> None:
    data = read_bytes(ref, "dh")
    descriptor = os.memfd_create("dh")
    try:
        os.write(descriptor, data)
        context.load_tmp_dh(f"/proc/self/fd/{descriptor}")
    except (SSL.Error, crypto.Error):
        raise ConfigError(
            "dh: no usable Diffie-Hellman parameters", ref.source, "use dh none"
        ) from None
    finally:
        os.close(descriptor)


def _verify_mode(config: TlsConfig, *, is_server: bool) -> int:
    if not is_server or config.verify_client_cert == "require":
        return SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
    return SSL.VERIFY_PEER if config.verify_client_cert == "optional" else SSL.VERIFY_NONE


def _certificates(ref: FileRef, directive: str) -> tuple[x509.Certificate, ...]:
    data = read_bytes(ref, directive)
    try:
        found = tuple(x509.load_pem_x509_certificates(data))
    except ValueError as error:
        raise ConfigError(f"{directive}: no certificate in PEM form: {error}", ref.source) from None
    return found


def _private_key(ref: FileRef, passphrase: PassphraseSource) -> PrivateKeyTypes:
    data = read_bytes(ref, "key")
    try:
        return load_pem_private_key(data, None)
    except TypeError:
        pass
    except ValueError as error:
        raise ConfigError(f"key: no private key in PEM form: {error}", ref.source) from None
    try:
        return load_pem_private_key(data, passphrase("Private Key").reveal())
    except (TypeError, ValueError):
        raise ConfigError("key: the passphrase does not open it", ref.source) from None


def _load_pkcs12(
    ref: FileRef, passphrase: PassphraseSource
) -> tuple[x509.Certificate, PrivateKeyTypes, tuple[x509.Certificate, ...]]:
    data = read_bytes(ref, "pkcs12")
    if ref.inline is not None:
        try:
            data = base64.b64decode(data, validate=False)
        except ValueError:
            raise ConfigError("pkcs12: inline data is not base64", ref.source) from None
    try:
        key, certificate, others = pkcs12.load_key_and_certificates(data, None)
    except ValueError:
        try:
            secret = passphrase("PKCS#12").reveal()
            key, certificate, others = pkcs12.load_key_and_certificates(data, secret)
        except ValueError as error:
            raise ConfigError(f"pkcs12: cannot be opened: {error}", ref.source) from None
    if key is None or certificate is None:
        raise ConfigError("pkcs12: holds no certificate with its key", ref.source)
    return certificate, key, tuple(others)


def _reason(error: Exception) -> str:
    """The library's last reason, without its address and codes."""
    details = error.args[0] if error.args else ()
    if isinstance(details, list) and details:
        return str(details[-1][-1])
    return str(error)
