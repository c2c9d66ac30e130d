"""Rows: the process itself, its logs and files."""

from __future__ import annotations

from ovpn6.config.draft import Draft
from ovpn6.config.lexer import Directive
from ovpn6.config.options.effects import absolute, command, flag, location, nothing, put, sets
from ovpn6.config.options.row import Effect, Option
from ovpn6.config.schema import STATUS_JSON, TunnelConfig
from ovpn6.config.values import integer, one_of, variable_name, word
from ovpn6.model.errors import ConfigError

_SECTION = "Process and logging"


def _fold_daemon(draft: Draft, directive: Directive) -> None:
    name = directive.args[0] if directive.args else draft.process.daemon_name
    put(draft, "process", daemon=True, daemon_name=name)


def _show_daemon(config: TunnelConfig) -> list[tuple[str, ...]]:
    return [(config.process.daemon_name,)] if config.process.daemon else []


def _fold_log(draft: Draft, directive: Directive) -> None:
    append = directive.name == "log-append"
    put(draft, "process", log=absolute(draft, directive.args[0]), log_append=append)


def _show_log(config: TunnelConfig, append: bool) -> list[tuple[str, ...]]:
    process = config.process
    return [(str(process.log),)] if process.log and process.log_append is append else []


def _fold_syslog(draft: Draft, directive: Directive) -> None:
    name = directive.args[0] if directive.args else draft.process.daemon_name
    put(draft, "process", syslog=True, daemon_name=name)


def _show_syslog(config: TunnelConfig) -> list[tuple[str, ...]]:
    return [(config.process.daemon_name,)] if config.process.syslog else []


def _fold_status(draft: Draft, directive: Directive) -> None:
    put(draft, "process", status=absolute(draft, directive.args[0]))
    if len(directive.args) > 1:
        put(draft, "process", status_interval=integer(0)(directive.args[1]))


def _show_status(config: TunnelConfig) -> list[tuple[str, ...]]:
    process = config.process
    return [(str(process.status), str(process.status_interval))] if process.status else []


def _fold_setenv(draft: Draft, directive: Directive) -> None:
    name = variable_name(directive.args[0])
    value = directive.args[1] if len(directive.args) > 1 else ""
    if directive.name == "setenv-safe":
        name = f"OPENVPN_{name}"
    elif name == "GENERIC_CONFIG":
        raise ConfigError("this is a generic profile, which cannot be used as it is")
    elif name == "PUSH_PEER_INFO":
        put(draft, "control", push_peer_info=True)
        return
    elif name == "SERVER_POLL_TIMEOUT":
        draft.link.connect_timeout = integer(1)(value)
        return
    put(draft, "control", setenv=(*draft.control.setenv, (name, value)))


def _show_setenv(config: TunnelConfig) -> list[tuple[str, ...]]:
    return list(config.control.setenv)


def _pushed_setenv(draft: Draft, directive: Directive) -> None:
    value = directive.args[1] if len(directive.args) > 1 else ""
    pair = (f"OPENVPN_{variable_name(directive.args[0])}", value)
    put(draft, "pushed", setenv=(*draft.pushed.setenv, pair))


def _row(name: str, usage: str, text: str, effect: Effect) -> Option:
    return Option(name, usage, text, _SECTION, effect=effect)


_STATUS_VERSIONS = {"1": 1, "2": 2, "3": 3, "json": STATUS_JSON}


def _fold_status_version(draft: Draft, directive: Directive) -> None:
    form = one_of(*_STATUS_VERSIONS)(directive.args[0])
    put(draft, "process", status_version=_STATUS_VERSIONS[form])


def _show_status_version(config: TunnelConfig) -> list[tuple[str, ...]]:
    version = config.process.status_version
    if version == 1:
        return []
    return [(next(form for form, number in _STATUS_VERSIONS.items() if number == version),)]


ROWS: tuple[Option, ...] = (
    _row("help", "", "Print every directive and what it does.", command("print them")),
    _row("version", "", "Print the version.", command("print it")),
    _row(
        "genkey",
        "[type] [file] [arguments]",
        "Make a key: secret, tls-crypt, tls-crypt-v2-server, tls-crypt-v2-client, auth-token.",
        command("make a key"),
    ),
    _row("mktun", "", "Make a TUN device that stays, named by --dev.", command("make one")),
    _row("rmtun", "", "Remove such a device.", command("remove one")),
    _row("show-ciphers", "", "Print the data ciphers.", command("print them")),
    _row("show-digests", "", "Print the digests of tls-auth.", command("print them")),
    _row("show-tls", "", "Print the cipher suites of TLS.", command("print them")),
    _row(
        "config",
        "FILE",
        "Read directives from FILE at this place; a file may read others.",
        nothing(),
    ),
    _row(
        "cd",
        "DIR",
        "Relative paths, also of later configuration files, start from DIR.",
        location("process.cd"),
    ),
    _row(
        "chroot",
        "DIR",
        "Enter DIR once the tunnel is prepared; client-config-dir, crl-verify, capath and tmp-dir "
        "are paths inside it.",
        location("process.chroot"),
    ),
    _row(
        "user",
        "NAME",
        "Run as this user after the start; CAP_NET_ADMIN is kept.",
        sets("process.user", word),
    ),
    _row("group", "NAME", "Run as this group after the start.", sets("process.group", word)),
    _row("nice", "N", "Process priority, -20 to 19.", sets("process.nice", integer(-20, 19))),
    _row(
        "daemon",
        "[NAME]",
        "Go to the background when the start has succeeded; NAME is the name in the system log.",
        Effect(_fold_daemon, _show_daemon),
    ),
    _row("writepid", "FILE", "Write the process id to FILE.", location("process.writepid")),
    _row(
        "log",
        "FILE",
        "Write the log to FILE, which is emptied first.",
        Effect(_fold_log, lambda config: _show_log(config, append=False)),
    ),
    _row(
        "log-append",
        "FILE",
        "Write the log to the end of FILE.",
        Effect(_fold_log, lambda config: _show_log(config, append=True)),
    ),
    _row(
        "syslog",
        "[NAME]",
        "Write the log to the system log, under NAME.",
        Effect(_fold_syslog, _show_syslog),
    ),
    Option(
        "verb",
        "N",
        "How much to log: 0 fatal errors, 1 and 2 warnings, 3 normal use, 4 to 11 debugging.",
        _SECTION,
        effect=sets("process.verb", integer(0, 15)),
    ),
    _row(
        "mute",
        "N",
        "Log at most N lines of one kind in a row; 0 is no limit.",
        sets("process.mute", integer(0)),
    ),
    _row(
        "suppress-timestamps",
        "",
        "Log lines carry no time.",
        flag("process.suppress_timestamps"),
    ),
    _row(
        "machine-readable-output",
        "",
        "Log lines carry seconds and message flags in a fixed form.",
        flag("process.machine_readable_output"),
    ),
    _row(
        "status",
        "FILE [SECONDS]",
        "Write peers and counters to FILE every SECONDS (60).",
        Effect(_fold_status, _show_status),
    ),
    _row(
        "status-version",
        "FORM",
        "Form of the status file: 1, 2 or 3 as OpenVPN's, with the path's MTU in 2 and 3; or json.",
        Effect(_fold_status_version, _show_status_version),
    ),
    _row("tmp-dir", "DIR", "Where scripts' temporary files are made.", location("process.tmp_dir")),
    _row(
        "script-security",
        "N",
        "What may be run: 0 nothing, 1 only system tools, 2 user scripts too, 3 and passwords may "
        "reach them in the environment.",
        sets("process.script_security", integer(0, 3)),
    ),
    _row(
        "setenv",
        "NAME [VALUE]",
        "Set a variable for scripts; names that begin with UV_ go to the server with "
        "push-peer-info. `setenv opt DIRECTIVE` only warns when DIRECTIVE is unknown.",
        Effect(_fold_setenv, _show_setenv),
    ),
    Option(
        "setenv-safe",
        "NAME [VALUE]",
        "Set the variable OPENVPN_NAME for scripts.",
        _SECTION,
        effect=Effect(_fold_setenv),
        pushed=_pushed_setenv,
    ),
    _row(
        "ignore-unknown-option",
        "NAME ...",
        "Only warn when one of these directives is unknown or refused.",
        nothing(),
    ),
)
