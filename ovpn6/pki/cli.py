"""``ovpn6 pki``: the authority from the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from ovpn6.model.errors import ConfigError, Ovpn6Error
from ovpn6.pki import storage
from ovpn6.pki.authority import CA_DAYS, CERTIFICATE_DAYS, CRL_DAYS, Authority, Issued
from ovpn6.pki.certificates import KeyType
from ovpn6.pki.index import Entry
from ovpn6.pki.profile import (
    DEFAULT_NETWORK4,
    DEFAULT_NETWORK6,
    DEFAULT_PORT,
    ClientProfile,
    RemoteLine,
    ServerProfile,
    Wrap,
)


def main(argv: Sequence[str]) -> int:
    """Run one ``ovpn6 pki`` command (``argv`` without ``ovpn6 pki``); returns an exit code."""
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2
    run: Callable[[argparse.Namespace], None] = arguments.run
    try:
        run(arguments)
    except Ovpn6Error as error:
        print(f"ovpn6 pki: {error}", file=sys.stderr)
        return 1
    return 0


# --- commands -----------------------------------------------------------------------------------


def _init(arguments: argparse.Namespace) -> None:
    authority = Authority.create(
        arguments.dir,
        KeyType(arguments.key_type),
        name=arguments.name,
        days=arguments.days,
        force=arguments.force,
    )
    print(f"authority   {authority.files.ca_certificate}")
    print(f"its key     {authority.files.ca_key}   keep this one off the server")
    print(f"fingerprint {authority.fingerprint('ca')}")


def _server(arguments: argparse.Namespace) -> None:
    authority = Authority(arguments.dir)
    issued = authority.issue_server(arguments.name, days=arguments.days, force=arguments.force)
    _report(issued, only_fingerprint=arguments.fingerprint)


def _client(arguments: argparse.Namespace) -> None:
    authority = Authority(arguments.dir)
    issued = authority.issue_client(arguments.name, days=arguments.days, force=arguments.force)
    _report(issued, only_fingerprint=arguments.fingerprint)


def _revoke(arguments: argparse.Namespace) -> None:
    authority = Authority(arguments.dir)
    authority.revoke(arguments.name)
    print(f"revoked     {arguments.name}")
    print(f"list        {authority.files.crl}   give it to the server (crl-verify)")


def _crl(arguments: argparse.Namespace) -> None:
    print(f"list        {Authority(arguments.dir).write_crl(arguments.days)}")


def _profile(arguments: argparse.Namespace) -> None:
    authority = Authority(arguments.dir)
    if arguments.server:
        text = authority.server_profile(arguments.name, _server_profile(arguments))
        default = authority.files.profile(arguments.name, "conf")
    else:
        text = authority.profile(arguments.name, _client_profile(arguments))
        default = authority.files.profile(arguments.name)
    if arguments.output == "-":
        sys.stdout.write(text)
        return
    path = Path(arguments.output) if arguments.output else default
    storage.write_file(path, text, force=arguments.force)
    print(f"profile     {path}   holds a private key")


def _show(arguments: argparse.Namespace) -> None:
    authority = Authority(arguments.dir)
    if arguments.fingerprint:
        print(authority.fingerprint(arguments.name or "ca"))
        return
    entries = [entry for entry in authority.entries() if arguments.name in ("", entry.name)]
    if not entries and arguments.name:
        raise ConfigError(f"no certificate is named {arguments.name!r}")
    now = datetime.now(UTC)
    heading = ("name", "purpose", "expires", "state", "serial")
    rows = [heading, *(_row(entry, now) for entry in entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heading))]
    for row in rows:
        print(
            "  ".join(f"{word:<{width}}" for word, width in zip(row, widths, strict=True)).rstrip()
        )


# --- helpers ------------------------------------------------------------------------------------


def _report(issued: Issued, *, only_fingerprint: bool) -> None:
    if only_fingerprint:
        print(issued.fingerprint)
        return
    print(f"certificate {issued.certificate}")
    print(f"key         {issued.key}")
    print(f"fingerprint {issued.fingerprint}")


def _row(entry: Entry, now: datetime) -> tuple[str, ...]:
    if entry.revoked is not None:
        state = f"revoked {entry.revoked:%Y-%m-%d}"
    else:
        state = "expired" if entry.expires <= now else "in force"
    purpose = entry.purpose.name.lower()
    return entry.name, purpose, f"{entry.expires:%Y-%m-%d}", state, f"{entry.serial:x}"


def _client_profile(arguments: argparse.Namespace) -> ClientProfile:
    protocol = arguments.proto or "udp"
    return ClientProfile(
        remotes=tuple(_remote(words, protocol) for words in arguments.remote or ()),
        wrap=Wrap(arguments.wrap),
        fingerprints=tuple(arguments.peer_fingerprint or ()),
        extra=tuple(arguments.line or ()),
    )


def _server_profile(arguments: argparse.Namespace) -> ServerProfile:
    if arguments.remote:
        raise ConfigError("--remote is for a client's profile", advice="a server takes --port")
    return ServerProfile(
        protocol=arguments.proto or "udp6",
        port=arguments.port,
        wrap=Wrap(arguments.wrap),
        network6=_network6(arguments.network6),
        network4=_network4(arguments.network4),
        crl_path=arguments.crl_path,
        extra=tuple(arguments.line or ()),
    )


def _remote(words: Sequence[str], protocol: str) -> RemoteLine:
    if len(words) > 2:
        raise ConfigError(f"--remote {' '.join(words)}", advice="--remote HOST [PORT]")
    return RemoteLine(words[0], _port(words[1]) if len(words) == 2 else DEFAULT_PORT, protocol)


def _port(word: str) -> int:
    if not word.isascii() or not word.isdigit() or not 1 <= int(word) <= 65535:
        raise ConfigError(f"{word!r} is no port", advice="1 to 65535")
    return int(word)


def _network6(word: str) -> IPv6Network | None:
    try:
        return None if word == "none" else IPv6Network(word)
    except ValueError as error:
        raise ConfigError(f"--network6 {word}: {error}") from None


def _network4(word: str) -> IPv4Network | None:
    try:
        return None if word == "none" else IPv4Network(word)
    except ValueError as error:
        raise ConfigError(f"--network4 {word}: {error}") from None


# --- words --------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ovpn6 pki",
        description="A certificate authority, its keys and complete profiles, in one directory.",
        epilog="Example: ovpn6 pki init; ovpn6 pki server gateway; ovpn6 pki client laptop; "
        "ovpn6 pki profile gateway --server; ovpn6 pki profile laptop --remote vpn.example.org",
    )
    parser.add_argument("--dir", type=Path, default=Path("pki"), help="its directory (./pki)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    init = _command(commands, "init", _init, "make the authority and the control-channel keys")
    init.add_argument("--name", default="ovpn6 CA", help="the CA's common name (ovpn6 CA)")
    init.add_argument("--key-type", choices=[kind.value for kind in KeyType], default="p256")
    _days(init, CA_DAYS)
    _force(init, "throw an existing authority away")

    for name, run in (("server", _server), ("client", _client)):
        issue = _command(commands, name, run, f"make a {name}'s certificate and keys")
        issue.add_argument("name", metavar="NAME")
        issue.add_argument("--fingerprint", action="store_true", help="print only the SHA-256")
        _days(issue, CERTIFICATE_DAYS)
        _force(issue, "replace (renew) an existing one")

    revoke = _command(commands, "revoke", _revoke, "end a certificate and write the list")
    revoke.add_argument("name", metavar="NAME")

    crl = _command(commands, "crl", _crl, "write the revocation list again")
    _days(crl, CRL_DAYS)

    show = _command(commands, "show", _show, "list the certificates, or one")
    show.add_argument("name", metavar="NAME", nargs="?", default="")
    show.add_argument("--fingerprint", action="store_true", help="SHA-256 of NAME, or of the CA")

    profile = _command(commands, "profile", _profile, "write a complete configuration file")
    _profile_words(profile)
    return parser


def _profile_words(profile: argparse.ArgumentParser) -> None:
    profile.add_argument("name", metavar="NAME")
    profile.add_argument("--server", action="store_true", help="a server's, not a client's")
    profile.add_argument(
        "--remote",
        action="append",
        nargs="+",
        metavar=("HOST", "PORT"),
        help="where a client connects (1194); may stand several times",
    )
    profile.add_argument("--proto", help="udp, udp6, udp4, tcp, tcp6, tcp4 (server: udp6)")
    wraps = [wrap.value for wrap in Wrap]
    profile.add_argument("--wrap", choices=wraps, default=Wrap.TLS_CRYPT.value)
    profile.add_argument(
        "--peer-fingerprint", action="append", metavar="SHA256", help="pin the server, no CA"
    )
    profile.add_argument("--line", action="append", metavar="TEXT", help="one more line, as it is")
    profile.add_argument("--port", type=int, default=DEFAULT_PORT, help="a server's port (1194)")
    profile.add_argument(
        "--network6",
        default=str(DEFAULT_NETWORK6),
        help=f"a server's, or none ({DEFAULT_NETWORK6})",
    )
    profile.add_argument(
        "--network4",
        default=str(DEFAULT_NETWORK4),
        help=f"a server's, or none ({DEFAULT_NETWORK4})",
    )
    profile.add_argument(
        "--crl-path", default="", help="file the server re-reads; otherwise today's list inline"
    )
    profile.add_argument("--output", metavar="FILE", default="", help="where to, '-' for stdout")
    _force(profile, "replace an existing file")


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], None],
    text: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    # Also after the command: ovpn6 pki show --dir DIR. SUPPRESS keeps the one given before it.
    parser.add_argument("--dir", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser


def _days(parser: argparse.ArgumentParser, default: int) -> None:
    parser.add_argument("--days", type=_day_count, default=default, help=f"valid for ({default})")


def _day_count(word: str) -> int:
    days = int(word)
    if not 1 <= days <= 36500:
        raise ValueError(word)
    return days


def _force(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--force", action="store_true", help=text)
