"""What log lines, scripts and policy need of a certificate, in OpenVPN's spelling.

Sources: OpenVPN ``ssl_verify_openssl.c`` (``x509_get_subject``, ``x509_setenv``) and
``ssl_verify.c`` (characters allowed in names). Short names are OpenSSL's.
"""

from __future__ import annotations

import hashlib

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from ovpn6.model.errors import PeerError
from ovpn6.model.identity import CertificateFacts

MAX_NAME_LENGTH = 64
"""Longest common name OpenVPN accepts (``TLS_USERNAME_LEN``)."""

EXTENDED_USAGE_NAMES: dict[str, str] = {
    "TLS Web Server Authentication": ExtendedKeyUsageOID.SERVER_AUTH.dotted_string,
    "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH.dotted_string,
    "TLS Web Client Authentication": ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string,
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string,
    "Code Signing": ExtendedKeyUsageOID.CODE_SIGNING.dotted_string,
    "codeSigning": ExtendedKeyUsageOID.CODE_SIGNING.dotted_string,
    "E-mail Protection": ExtendedKeyUsageOID.EMAIL_PROTECTION.dotted_string,
    "emailProtection": ExtendedKeyUsageOID.EMAIL_PROTECTION.dotted_string,
    "Time Stamping": ExtendedKeyUsageOID.TIME_STAMPING.dotted_string,
    "timeStamping": ExtendedKeyUsageOID.TIME_STAMPING.dotted_string,
    "OCSP Signing": ExtendedKeyUsageOID.OCSP_SIGNING.dotted_string,
    "OCSPSigning": ExtendedKeyUsageOID.OCSP_SIGNING.dotted_string,
    "Any Extended Key Usage": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE.dotted_string,
    "anyExtendedKeyUsage": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE.dotted_string,
    "ipsec Internet Key Exchange": "1.3.6.1.5.5.7.3.17",
    "ipsecIKE": "1.3.6.1.5.5.7.3.17",
}
"""OpenSSL's long and short names of extended key usages, to dotted OIDs."""

SHORT_NAMES: dict[str, str] = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "street",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.13": "description",
    "2.5.4.15": "businessCategory",
    "2.5.4.16": "postalAddress",
    "2.5.4.17": "postalCode",
    "2.5.4.20": "telephoneNumber",
    "2.5.4.41": "name",
    "2.5.4.42": "GN",
    "2.5.4.43": "initials",
    "2.5.4.44": "generationQualifier",
    "2.5.4.45": "x500UniqueIdentifier",
    "2.5.4.46": "dnQualifier",
    "2.5.4.65": "pseudonym",
    "2.5.4.97": "organizationIdentifier",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
    "1.2.840.113549.1.9.2": "unstructuredName",
    "1.3.6.1.4.1.311.60.2.1.1": "jurisdictionL",
    "1.3.6.1.4.1.311.60.2.1.2": "jurisdictionST",
    "1.3.6.1.4.1.311.60.2.1.3": "jurisdictionC",
}


def describe(certificate: x509.Certificate, username_field: str = "CN") -> CertificateFacts:
    """The facts of one certificate; ``common_name`` is taken from ``username_field``.

    ``common_name`` is "" when the field is missing or too long; whether that matters depends on
    the depth. Raises ``PeerError`` when the subject cannot be read.
    """
    try:
        rdns = certificate.subject.rdns
        der = certificate.public_bytes(Encoding.DER)
    except ValueError as error:
        raise PeerError(f"certificate subject cannot be read: {error}") from None
    fields: dict[str, str] = {}
    parts: list[str] = []
    last: dict[str, str] = {}
    for rdn in rdns:
        values: list[str] = []
        for attribute in rdn:
            name = _short_name(attribute.oid.dotted_string)
            text = _text(attribute.value)
            values.append(f"{name}={_escape_controls(text)}")
            last[name] = text
            _add_numbered(fields, name, _printable(text))
        parts.append(" + ".join(values))
    subject = _replace_leading_dash(_printable(", ".join(parts)))
    return CertificateFacts(
        subject=subject,
        common_name=_username(certificate, username_field, last),
        serial=certificate.serial_number,
        sha256=hashlib.sha256(der).hexdigest(),
        sha1=hashlib.sha1(der, usedforsecurity=False).hexdigest(),
        fields=fields,
    )


def key_usage_mask(certificate: x509.Certificate) -> int | None:
    """The first eight key-usage bits, digitalSignature as 0x80; None without the extension."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None
    agreement = usage.key_agreement
    bits = (
        usage.digital_signature,
        usage.content_commitment,
        usage.key_encipherment,
        usage.data_encipherment,
        agreement,
        usage.key_cert_sign,
        usage.crl_sign,
        agreement and usage.encipher_only,
    )
    return sum(1 << (7 - position) for position, bit in enumerate(bits) if bit)


def extended_usages(certificate: x509.Certificate) -> frozenset[str]:
    """Dotted OIDs of the extended key usages; empty without the extension."""
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(usage.dotted_string for usage in usages)


def _username(certificate: x509.Certificate, field: str, last: dict[str, str]) -> str:
    if field.startswith("ext:"):
        text = _alternative_name(certificate, field.removeprefix("ext:"))
    elif field == "serialNumber":
        text = f"0x{certificate.serial_number:X}"
    else:
        text = last.get(field, "")
    if len(text.encode()) > MAX_NAME_LENGTH:
        return ""
    return _printable(text)


def _alternative_name(certificate: x509.Certificate, extension: str) -> str:
    """The last e-mail address in a subject or issuer alternative name."""
    oids = {
        "subjectAltName": ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        "issuerAltName": ExtensionOID.ISSUER_ALTERNATIVE_NAME,
    }
    if extension not in oids:
        return ""
    try:
        names = certificate.extensions.get_extension_for_oid(oids[extension]).value
    except x509.ExtensionNotFound:
        return ""
    assert isinstance(names, x509.SubjectAlternativeName | x509.IssuerAlternativeName)
    mails = names.get_values_for_type(x509.RFC822Name)
    return mails[-1] if mails else ""


def _short_name(oid: str) -> str:
    return SHORT_NAMES.get(oid, oid)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.hex()


def _escape_controls(text: str) -> str:
    """Control characters as backslash and two hex digits (``ASN1_STRFLGS_ESC_CTRL``)."""
    return "".join(
        f"\\{ord(char):02X}" if ord(char) < 32 or ord(char) == 127 else char for char in text
    )


def _printable(text: str) -> str:
    return "".join("_" if ord(char) < 32 or ord(char) == 127 else char for char in text)


def _replace_leading_dash(text: str) -> str:
    return f"_{text[1:]}" if text.startswith("-") else text


def _add_numbered(fields: dict[str, str], name: str, value: str) -> None:
    """A repeated name gets ``_1``, ``_2`` ... appended, as OpenVPN's environment has it."""
    key, count = name, 0
    while key in fields:
        count += 1
        key = f"{name}_{count}"
    fields[key] = value
