"""The command line: which command is meant, its exit code, and how its errors look.

``ovpn6 --config FILE [--DIRECTIVE ARGS ...]`` and ``ovpn6 FILE`` run the daemon, as with OpenVPN.
Heavy parts are imported by the command that needs them, so that ``--help`` is quick.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence

from ovpn6.model.errors import ConfigError, ConfigErrors, Ovpn6Error

EXIT_OK = 0
EXIT_FAILED = 1

_COMMANDS_HELP = """\
Usage: ovpn6 --config FILE [--DIRECTIVE ARGS ...]   run a tunnel in the foreground
       ovpn6 FILE                                   the same
       ovpn6 check FILE [--DIRECTIVE ARGS ...]      show what a configuration means, or its errors
       ovpn6 pki COMMAND ...                        certificates, keys and client profiles
       ovpn6 doctor [FILE | --peer IP] [--json]     what stops packets, and what to do
       ovpn6 --genkey KIND [FILE]                   a single key, as with OpenVPN
       ovpn6 --mktun | --rmtun --dev NAME           a TUN device that stays
       ovpn6 --show-ciphers | --show-digests | --show-tls
       ovpn6 --version | --help
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in ``argv`` (``sys.argv`` without one); returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words:
        print(_help())
        return EXIT_FAILED
    command = _SUBCOMMANDS.get(words[0])
    if command is not None:
        return _guarded(lambda: command(words[1:]))
    flags = [word for word in words if word in _FLAGS]
    if flags:
        return _guarded(lambda: _FLAGS[flags[0]](words))
    return _guarded(lambda: _run(words))


def _guarded(command: Callable[[], int]) -> int:
    """Our errors as lines; bugs keep their traceback."""
    try:
        return command()
    except ConfigErrors as errors:
        _options_errors(errors.errors)
    except ConfigError as error:
        _options_errors((error,))
    except Ovpn6Error as error:
        print(f"ovpn6: {error}", file=sys.stderr)
    except BrokenPipeError:
        sys.stderr.close()
    return EXIT_FAILED


def _options_errors(errors: Sequence[ConfigError]) -> None:
    for error in errors:
        print(f"Options error: {error}", file=sys.stderr)
    print("Use --help for more information.", file=sys.stderr)


def _run(words: list[str]) -> int:
    # Imports make no garbage to look for; the daemon turns this on again when it has started.
    gc.disable()
    from ovpn6.config.load import load_config
    from ovpn6.daemon.service import run_daemon

    arguments = words if words[0].startswith("--") else ["--config", *words]
    return run_daemon(lambda: load_config(arguments))


def _check(words: list[str]) -> int:
    from ovpn6.config.load import load_config, normalised

    if not words:
        raise ConfigError("check needs a configuration file", advice="ovpn6 check FILE")
    arguments = words if words[0].startswith("--") else ["--config", *words]
    config = load_config(arguments)
    for warning in config.warnings:
        print(f"WARNING: {warning}", file=sys.stderr)
    print(normalised(config), end="")
    return EXIT_OK


def _pki(words: list[str]) -> int:
    from ovpn6.pki.cli import main as pki_main

    return pki_main(words)


def _doctor(words: list[str]) -> int:
    from ovpn6.doctor.command import main as doctor_main

    return doctor_main(words)


def _genkey(words: list[str]) -> int:
    from ovpn6.pki.genkey import genkey

    return genkey(words)


def _help() -> str:
    from ovpn6.config.load import help_text

    return f"{_COMMANDS_HELP}\n{help_text()}"


def _show_help(words: list[str]) -> int:
    print(_help())
    return EXIT_OK


def _show_version(words: list[str]) -> int:
    from ovpn6.daemon.materials import library_line, version_line

    print(version_line())
    print(library_line())
    return EXIT_OK


def _show_ciphers(words: list[str]) -> int:
    from ovpn6.model.ciphers import CIPHERS

    print("Data channel ciphers (data-ciphers), all AEAD:\n")
    for cipher in CIPHERS.values():
        print(f"{cipher.name}  ({cipher.key_size * 8} bit key)")
    return EXIT_OK


def _show_digests(words: list[str]) -> int:
    from ovpn6.config.algorithms import DIGESTS

    print("Digests for tls-auth (auth):\n")
    print("\n".join(name for name in DIGESTS if name != "none"))
    return EXIT_OK


def _show_tls(words: list[str]) -> int:
    from ovpn6.daemon.tls_context import available_ciphers

    for title, names in available_ciphers():
        print(f"{title}:\n")
        print("\n".join(names), end="\n\n")
    return EXIT_OK


def _make_tun(words: list[str]) -> int:
    from ovpn6.daemon.device_commands import make_tun

    return make_tun(words)


def _remove_tun(words: list[str]) -> int:
    from ovpn6.daemon.device_commands import remove_tun

    return remove_tun(words)


_SUBCOMMANDS: dict[str, Callable[[list[str]], int]] = {
    "check": _check,
    "doctor": _doctor,
    "pki": _pki,
}
_FLAGS: dict[str, Callable[[list[str]], int]] = {
    "--help": _show_help,
    "-h": _show_help,
    "--version": _show_version,
    "--genkey": _genkey,
    "--mktun": _make_tun,
    "--rmtun": _remove_tun,
    "--show-ciphers": _show_ciphers,
    "--show-digests": _show_digests,
    "--show-tls": _show_tls,
}
