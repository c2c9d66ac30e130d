"""Rows: certificates and TLS policy."""

from __future__ import annotations

from ovpn6.config.algorithms import tls_cipher_list, tls_ciphersuites, tls_groups
from ovpn6.config.draft import Draft
from ovpn6.config.lexer import Directive
from ovpn6.config.options.effects import (
    absolute,
    file,
    file_ref,
    location,
    put,
    sets,
    shown_ref,
)
from ovpn6.config.options.row import Effect, Option, Side
from ovpn6.config.schema import TunnelConfig
from ovpn6.config.values import key_usage, one_of, sha256_fingerprint, word
from ovpn6.model.errors import ConfigError

_SECTION = "Certificates and TLS"

EKU_OF_SIDE = {
    "server": "TLS Web Server Authentication",
    "client": "TLS Web Client Authentication",
}
"""The extended key usage that ``remote-cert-tls`` asks for, by OpenSSL's name."""

KEY_USAGE_PRESENT = (0xFFFF,)
"""The certificate must have a key usage, whichever."""

_VERSIONS = ("1.0", "1.1", "1.2", "1.3")


def _fold_dh(draft: Draft, directive: Directive) -> None:
    none = directive.inline is None and directive.args[0] == "none"
    put(draft, "tls", dh=None if none else file_ref(draft, directive))


def _show_dh(config: TunnelConfig) -> list[tuple[str, ...]]:
    if config.server is None:
        return []
    return [("none" if config.tls.dh is None else shown_ref(config.tls.dh),)]


def _fold_crl(draft: Draft, directive: Directive) -> None:
    if len(directive.args) > 1:
        one_of("dir")(directive.args[1])
        put(draft, "tls", crl_verify=None, crl_verify_dir=absolute(draft, directive.args[0]))
    else:
        put(draft, "tls", crl_verify=file_ref(draft, directive), crl_verify_dir=None)


def _show_crl(config: TunnelConfig) -> list[tuple[str, ...]]:
    if config.tls.crl_verify_dir is not None:
        return [(str(config.tls.crl_verify_dir), "dir")]
    return [(shown_ref(config.tls.crl_verify),)] if config.tls.crl_verify else []


def _fold_fingerprints(draft: Draft, directive: Directive) -> None:
    found = _fingerprints(directive)
    put(draft, "tls", peer_fingerprint=(*draft.tls.peer_fingerprint, *found))


def _fold_verify_hash(draft: Draft, directive: Directive) -> None:
    algorithm = directive.args[1] if len(directive.args) > 1 else "SHA1"
    if directive.inline is None and algorithm != "SHA256":
        advice = "give the SHA-256 fingerprint and the word SHA256 after it"
        raise ConfigError(f"verify-hash with {algorithm} is not supported", advice=advice)
    put(draft, "tls", verify_hash=(*draft.tls.verify_hash, *_fingerprints(directive)))


def _fingerprints(directive: Directive) -> tuple[str, ...]:
    text = directive.args[0] if directive.inline is None else directive.inline
    lines = [line.split("#")[0].split(";")[0].strip() for line in text.splitlines()]
    found = tuple(sha256_fingerprint(line) for line in lines if line)
    if not found:
        raise ConfigError("no fingerprint is given")
    return found


def _colons(digits: str) -> str:
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2)).upper()


def _show_fingerprints(config: TunnelConfig) -> list[tuple[str, ...]]:
    return [(_colons(each),) for each in config.tls.peer_fingerprint]


def _show_verify_hash(config: TunnelConfig) -> list[tuple[str, ...]]:
    return [(_colons(each), "SHA256") for each in config.tls.verify_hash]


def _fold_remote_cert_tls(draft: Draft, directive: Directive) -> None:
    side = one_of(*EKU_OF_SIDE)(directive.args[0])
    put(draft, "tls", remote_cert_eku=EKU_OF_SIDE[side], remote_cert_ku=KEY_USAGE_PRESENT)


def _fold_remote_cert_ku(draft: Draft, directive: Directive) -> None:
    masks = tuple(key_usage(text) for text in directive.args)
    put(draft, "tls", remote_cert_ku=masks or KEY_USAGE_PRESENT)


def _show_remote_cert_ku(config: TunnelConfig) -> list[tuple[str, ...]]:
    masks = config.tls.remote_cert_ku
    if not masks:
        return []
    return [() if masks == KEY_USAGE_PRESENT else tuple(f"{mask:x}" for mask in masks)]


def _fold_version_min(draft: Draft, directive: Directive) -> None:
    if len(directive.args) > 1:
        one_of("or-highest")(directive.args[1])
    version = one_of(*_VERSIONS)(directive.args[0])
    put(draft, "tls", tls_version_min=version)


def _show_version_min(config: TunnelConfig) -> list[tuple[str, ...]]:
    minimum = config.tls.tls_version_min
    return [(minimum,)] if minimum != "1.2" else []


def _fold_askpass(draft: Draft, directive: Directive) -> None:
    if not directive.args or directive.args[0] == "stdin":
        advice = "put the pass phrase into a file: askpass FILE"
        raise ConfigError("asking for the key's pass phrase is not supported", advice=advice)
    put(draft, "tls", askpass=file_ref(draft, directive))


def _show_askpass(config: TunnelConfig) -> list[tuple[str, ...]]:
    return [(shown_ref(config.tls.askpass),)] if config.tls.askpass else []


def _username_field(text: str) -> str:
    if text.startswith("ext:"):
        raise ConfigError(f"{text} is not supported", advice="use a field of the subject, as CN")
    return word(text)


def _row(name: str, usage: str, text: str, effect: Effect) -> Option:
    return Option(name, usage, text, _SECTION, effect=effect)


def _file(name: str, text: str) -> Option:
    effect = file(f"tls.{name.replace('-', '_')}")
    return Option(
        name, "FILE", f"{text} A block <{name}> may hold it.", _SECTION, effect=effect, inline=True
    )


ROWS: tuple[Option, ...] = (
    _file("ca", "Certificates of the authorities that the other end's certificate must lead to."),
    _row("capath", "DIR", "A directory of such certificates, hashed.", location("tls.capath")),
    _file("cert", "Our own certificate, with intermediate ones after it."),
    _file("key", "The private key of our certificate."),
    _file("pkcs12", "Authority, certificate and key in one PKCS#12 file."),
    _file("extra-certs", "Further certificates to send, which complete our chain."),
    Option(
        "askpass",
        "[FILE]",
        "The private key's pass phrase is the first line of FILE.",
        _SECTION,
        effect=Effect(_fold_askpass, _show_askpass),
    ),
    Option(
        "dh",
        "FILE",
        "Diffie-Hellman parameters of a server; none, as without it, means elliptic curves.",
        _SECTION,
        side=Side.SERVER,
        effect=Effect(_fold_dh, _show_dh),
        inline=True,
        lenient=True,
    ),
    Option(
        "crl-verify",
        "FILE [dir]",
        "Refuse the certificates that this revocation list names; it is read again when it "
        "changes. With dir: a directory with a file for each revoked serial number.",
        _SECTION,
        effect=Effect(_fold_crl, _show_crl),
        inline=True,
    ),
    Option(
        "peer-fingerprint",
        "SHA256",
        "Accept the certificates with these fingerprints, and need no authority.",
        _SECTION,
        effect=Effect(_fold_fingerprints, _show_fingerprints),
        inline=True,
    ),
    Option(
        "verify-hash",
        "HASH [SHA256]",
        "Accept only certificates that an authority with this SHA-256 fingerprint signed.",
        _SECTION,
        effect=Effect(_fold_verify_hash, _show_verify_hash),
        inline=True,
    ),
    _row(
        "remote-cert-tls",
        "SIDE",
        "The other end's certificate must be made for a server, or a client.",
        Effect(_fold_remote_cert_tls),
    ),
    _row(
        "remote-cert-eku",
        "OID",
        "The extended key usage that the other end's certificate must have.",
        sets("tls.remote_cert_eku", word),
    ),
    _row(
        "remote-cert-ku",
        "[HEX] ...",
        "The key usages, one of which the other end's certificate must have; any without HEX.",
        Effect(_fold_remote_cert_ku, _show_remote_cert_ku),
    ),
    _row(
        "verify-x509-name",
        "NAME [TYPE]",
        "The other end's name: TYPE subject (whole subject), name (common name), name-prefix.",
        sets(
            "tls.verify_x509_name",
            word,
            one_of("subject", "name", "name-prefix"),
            more=("verify_x509_type",),
        ),
    ),
    _row(
        "x509-username-field",
        "FIELD",
        "The subject's field that is the client's name (CN).",
        sets("tls.x509_username_field", _username_field),
    ),
    Option(
        "verify-client-cert",
        "[WHETHER]",
        "Clients' certificates: require, optional, none (then a user name must prove them).",
        _SECTION,
        side=Side.SERVER,
        effect=sets("tls.verify_client_cert", one_of("require", "optional", "none")),
    ),
    _row(
        "tls-version-min",
        "VERSION [or-highest]",
        "Lowest TLS version (1.2).",
        Effect(_fold_version_min, _show_version_min),
    ),
    _row(
        "tls-version-max",
        "VERSION",
        "Highest TLS version.",
        sets("tls.tls_version_max", one_of(*_VERSIONS)),
    ),
    _row(
        "tls-cipher",
        "LIST",
        "Cipher suites of TLS 1.2.",
        sets("tls.tls_cipher", tls_cipher_list),
    ),
    _row(
        "tls-ciphersuites",
        "LIST",
        "Cipher suites of TLS 1.3.",
        sets("tls.tls_ciphersuites", tls_ciphersuites),
    ),
    _row(
        "tls-groups",
        "LIST",
        "Groups of the key exchange, in order of preference.",
        sets("tls.tls_groups", tls_groups),
    ),
    _row(
        "tls-cert-profile",
        "PROFILE",
        "How strong certificates must be: legacy, preferred, suiteb, insecure.",
        sets("tls.tls_cert_profile", one_of("legacy", "preferred", "suiteb", "insecure")),
    ),
)
