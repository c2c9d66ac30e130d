"""The option table: complete, and every row does what its status says."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from ovpn6.config.load import normalised
from ovpn6.config.options import OPTIONS, Option, Scope, Side, Status
from ovpn6.config.options.row import arity
from ovpn6.config.schema import TunnelConfig
from tests.config.conftest import Fail, Load

SAMPLES: dict[str, str] = {
    # link
    "local": "2001:db8::5 1195 udp6",
    "remote": "192.0.2.1 1195 tcp4-client",
    "proto": "udp6",
    "port": "1195",
    "lport": "1195",
    "rport": "1195",
    "bind": "ipv6only",
    "nobind": "",
    "proto-force": "udp",
    "remote-random": "",
    "resolv-retry": "30",
    "connect-retry": "2 60",
    "connect-retry-max": "5",
    "connect-timeout": "10",
    "server-poll-timeout": "10",
    "explicit-exit-notify": "2",
    "multihome": "",
    "sndbuf": "100000",
    "rcvbuf": "100000",
    "mark": "7",
    "bind-dev": "vrf-red",
    "flow-label": "flow",
    "socket-flags": "TCP_NODELAY",
    "tcp-nodelay": "",
    # server
    "server": "10.8.0.0 255.255.255.0",
    "ifconfig-pool-persist": "pool.txt 60",
    "client-config-dir": "clients",
    "duplicate-cn": "",
    "max-clients": "5",
    "max-routes-per-client": "5",
    "connect-freq": "5 10",
    "connect-freq-initial": "5 10",
    "auth-gen-token": "3600 600",
    "push": '"route-ipv6 2001:db8:5::/48"',
    "client-to-client": "",
    # client
    "pull-filter": 'ignore "route "',
    "route-nopull": "",
    "auth-user-pass": "secret.txt",
    "auth-retry": "nointeract",
    "auth-nocache": "",
    # host
    "dev": "tun5",
    "dev-netns": "inner",
    "txqueuelen": "500",
    "tun-mtu": "1400",
    "tun-mtu-max": "1700",
    "ifconfig": "10.8.0.1 255.255.255.0",
    "ifconfig-ipv6": "2001:db8:8::5/64",
    "ifconfig-noexec": "",
    "persist-tun": "",
    "route-table": "100",
    "route-ipv6": "2001:db8:5::/48 2001:db8:8::9 50",
    "route": "192.168.5.0 255.255.255.0 default 50",
    "route-ipv6-gateway": "2001:db8:8::9",
    "route-gateway": "10.8.0.9",
    "route-metric": "50",
    "route-delay": "3",
    "route-noexec": "",
    "max-routes": "100",
    "redirect-gateway": "def1 ipv6",
    "redirect-private": "ipv6",
    "block-ipv6": "",
    "allow-recursive-routing": "",
    # mtu
    "mssfix": "1400 mtu",
    "mtu-disc": "yes",
    "path-mtu-base": "1300",
    "path-mtu-max": "1400",
    "path-mtu-timers": "0.1 2 30",
    # tls
    "ca": "own.crt",
    "capath": "clients",
    "cert": "ca.crt",
    "key": "shared.key",
    "extra-certs": "ca.crt",
    "askpass": "secret.txt",
    "dh": "dh.pem",
    "crl-verify": "crl.pem",
    "peer-fingerprint": ":".join(["AB"] * 32),
    "verify-hash": ":".join(["AB"] * 32) + " SHA256",
    "remote-cert-tls": "client",
    "remote-cert-eku": "1.3.6.1.5.5.7.3.1",
    "remote-cert-ku": "a0 88",
    "verify-x509-name": "vpn.example.net name",
    "x509-username-field": "emailAddress",
    "tls-version-min": "1.3",
    "tls-version-max": "1.3",
    "tls-cipher": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "tls-ciphersuites": "TLS_AES_256_GCM_SHA384",
    "tls-groups": "X25519",
    "tls-cert-profile": "preferred",
    # control
    "tls-auth": "shared.key 1",
    "tls-crypt": "shared.key",
    "tls-crypt-v2": "shared.key",
    "auth": "SHA512",
    "tls-timeout": "4",
    "hand-window": "30",
    "tran-window": "600",
    "reneg-sec": "600 500",
    "max-packet-size": "1000",
    "push-peer-info": "",
    # data
    "data-ciphers": "AES-128-GCM",
    "ncp-ciphers": "AES-128-GCM",
    "data-ciphers-fallback": "AES-192-GCM",
    "cipher": "AES-128-GCM",
    "replay-window": "128 30",
    "mute-replay-warnings": "",
    "passtos": "",
    "epoch-keys": "no",
    "keepalive": "10 60",
    "ping": "10",
    "ping-restart": "60",
    "ping-exit": "60",
    "inactive": "600 1000",
    "session-timeout": "3600",
    "float": "",
    "comp-lzo": "no",
    "compress": "migrate",
    "disable-dco": "",
    "workers": "4",
    "kernel-module": "ovpn",
    # process
    "cd": ".",
    "user": "nobody",
    "group": "nogroup",
    "nice": "-5",
    "daemon": "tunnel",
    "writepid": "pid",
    "log": "log",
    "log-append": "log",
    "syslog": "tunnel",
    "verb": "4",
    "mute": "5",
    "suppress-timestamps": "",
    "machine-readable-output": "",
    "status": "status.txt 10",
    "status-version": "3",
    "tmp-dir": "clients",
    "script-security": "2",
    "setenv": "UV_SITE north",
    "setenv-safe": "site north",
}
"""Words for each directive that changes a configuration by itself."""

TOGETHER: dict[str, str] = {
    "mode": "{}",
    "tls-server": "{}",
    "server-ipv6": "{}",
    "ccd-exclusive": "client-config-dir clients\n{}",
    "username-as-common-name": "script-security 2\nauth-user-pass-verify script.sh via-file\n{}",
    "auth-user-pass-optional": "script-security 2\nauth-user-pass-verify script.sh via-file\n{}",
    "verify-client-cert": (
        "script-security 2\nauth-user-pass-verify script.sh via-file\n{} optional"
    ),
    "auth-gen-token-secret": "auth-gen-token\n{} secret.txt",
    "tls-crypt-v2-verify": "script-security 2\ntls-crypt-v2 shared.key\n{} script.sh",
    "tls-crypt-v2-max-age": "tls-crypt-v2 shared.key\n{} 30",
    "key-direction": "tls-auth shared.key\n{} 1",
    "auth-user-pass-verify": "script-security 2\n{} script.sh via-file",
    "down-pre": "{}",
    "up-restart": "{}",
    **{
        name: f"script-security 2\n{{}} {text}"
        for name in (
            "up",
            "down",
            "route-up",
            "route-pre-down",
            "ipchange",
            "client-connect",
            "client-disconnect",
            "learn-address",
        )
        for text in ('"script.sh one two"',)
    },
}
"""Directives that need others beside them, or none at all; {} is the name."""

ELSEWHERE = frozenset(
    {
        "client",
        "pull",
        "tls-client",
        "mode",
        "tls-server",
        "server-ipv6",
        "connection",
        "config",
        "ifconfig-pool",
        "ifconfig-ipv6-pool",
        "pkcs12",
        "chroot",
        "ignore-unknown-option",
    }
)
"""Directives with tests of their own."""

WITHOUT_TRACE = {
    "persist-key": "",
    "tun-ipv6": "",
    "ifconfig-nowarn": "",
    "dev-type": "tun",
    "allow-compression": "no",
    "reneg-bytes": "0",
    "reneg-pkts": "0",
    "topology": "subnet",
}
"""Directives that ask for what is so anyway, or name a choice of one."""

COMMANDS = frozenset(
    ["help", "version", "genkey", "mktun", "rmtun", "show-ciphers", "show-digests", "show-tls"]
)


def _supported() -> list[Option]:
    return [
        option
        for option in OPTIONS.values()
        if option.status is Status.SUPPORTED and Scope.FILE in option.scopes
    ]


def _base(option: Option, server_text: str, client_text: str) -> str:
    client_only = option.side is Side.CLIENT or option.name in ("rport", "ifconfig-ipv6")
    base = client_text if client_only else server_text
    if option.name in ("ifconfig", "route-metric"):
        return client_text
    return base


def _plain(config: TunnelConfig) -> TunnelConfig:
    return replace(config, warnings=())


def test_every_supported_directive_is_tried() -> None:
    tried = SAMPLES.keys() | TOGETHER.keys() | ELSEWHERE | WITHOUT_TRACE.keys() | COMMANDS
    assert {option.name for option in _supported()} == tried


@pytest.mark.parametrize("name", SAMPLES)
def test_directive_changes_the_configuration(
    name: str, load: Load, server_text: str, client_text: str
) -> None:
    option = OPTIONS[name]
    base = _base(option, server_text, client_text)
    if name == "route-table":
        line = f"{name} {SAMPLES[name]}\nroute-ipv6 2001:db8:5::/48"
        changed = load(f"{base}{line}\n").host.routes[-1].table
        assert changed == 100
        return
    if name in ("data-ciphers-fallback", "cipher"):
        base += "data-ciphers AES-256-GCM\n"
    if name == "cd":
        assert load(f"{base}{name} .\n").process.cd is not None
        return
    if name in ("cert", "key", "ca"):
        base = (
            "\n".join(line for line in base.splitlines() if not line.startswith(f"{name} ")) + "\n"
        )
        assert getattr(load(f"{base}{name} secret.txt\n").tls, name).path.name == "secret.txt"
        return
    before, after = load(base), load(f"{base}{name} {SAMPLES[name]}\n")
    assert _plain(before) != _plain(after)


@pytest.mark.parametrize("name", sorted(TOGETHER.keys() - {"mode", "tls-server", "server-ipv6"}))
def test_directive_with_what_it_needs_changes_the_configuration(
    name: str, load: Load, server_text: str, client_text: str
) -> None:
    base = _base(OPTIONS[name], server_text, client_text)
    beside, _, line = TOGETHER[name].rpartition("\n")
    without = load(f"{base}{beside}\n")
    assert _plain(load(f"{base}{beside}\n{line.format(name)}\n")) != _plain(without)


@pytest.mark.parametrize("name", sorted(WITHOUT_TRACE))
def test_directive_for_what_is_so_anyway_changes_nothing_and_warns_of_nothing(
    name: str, load: Load, server_text: str
) -> None:
    plain = load(server_text)
    assert load(f"{server_text}{name} {WITHOUT_TRACE[name]}\n") == plain


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_command_in_a_file_is_refused(name: str, fail: Fail, server_text: str) -> None:
    (error,) = fail(f"{server_text}{name}\n")
    assert error.startswith(f"x.conf:6: {name}: --{name} is a command")


@pytest.mark.parametrize(
    "name", [name for name, option in OPTIONS.items() if option.status is Status.REFUSED]
)
def test_refused_directive_is_told_with_its_place_reason_and_advice(
    name: str, fail: Fail, server_text: str
) -> None:
    option = OPTIONS[name]
    (error,) = fail(f"{server_text}{name} one\n")
    assert error == f"x.conf:6: {name} is not supported: {option.reason} ({option.advice})"


@pytest.mark.parametrize(
    "name",
    [name for name, option in OPTIONS.items() if option.status in (Status.NOTICE, Status.LEGACY)],
)
def test_directive_without_effect_warns_with_its_place_and_reason(
    name: str, load: Load, server_text: str
) -> None:
    option = OPTIONS[name]
    words = " ".join(["x"] * option.arity[0])
    config = load(f"{server_text}{name} {words}\n")
    assert _plain(config) == _plain(load(server_text))
    (warning,) = config.warnings
    assert warning.startswith(f"x.conf:6: {name} does nothing: {option.reason}")


@pytest.mark.parametrize(
    "name",
    [
        option.name
        for option in OPTIONS.values()
        if option.status is Status.SUPPORTED and Scope.FILE not in option.scopes
    ],
)
def test_directive_of_another_place_is_refused_in_a_file(
    name: str, fail: Fail, server_text: str
) -> None:
    (error,) = fail(f"{server_text}{name} 1 2\n")
    assert error.startswith(f"x.conf:6: {name} cannot stand here (")


@pytest.mark.parametrize("option", OPTIONS.values(), ids=lambda option: option.name)
def test_row_has_a_help_text_and_a_reason_where_one_is_due(option: Option) -> None:
    assert option.help.endswith(".")
    assert bool(option.reason) is (option.status is not Status.SUPPORTED)
    assert bool(option.advice) is (option.status is Status.REFUSED)
    assert option.scopes or option.status is Status.REFUSED


@pytest.mark.parametrize(
    ("usage", "counts"),
    [("", (0, 0)), ("N", (1, 1)), ("N [M]", (1, 2)), ("A ...", (1, 1000)), ("[A] ...", (0, 1000))],
)
def test_usage_gives_the_number_of_words(usage: str, counts: tuple[int, int]) -> None:
    assert arity(usage) == counts


def test_every_option_that_openvpn_prints_has_a_row() -> None:
    program = shutil.which("openvpn", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if program is None:
        pytest.skip("openvpn is not installed")
    printed = subprocess.run([program, "--help"], capture_output=True, text=True, check=False)
    names = set(re.findall(r"^--([a-z0-9][a-z0-9-]*)", printed.stdout, re.MULTILINE))
    assert len(names) > 150
    assert names - OPTIONS.keys() == set()


def test_what_a_sample_sets_is_shown_by_normalised(
    load: Load, server_text: str, client_text: str
) -> None:
    hidden = {"remote", "port", "lport", "rport", "proto", "server", "cipher", "dh", "keepalive"}
    hidden |= {"server-poll-timeout", "ncp-ciphers", "socket-flags", "tcp-nodelay", "setenv-safe"}
    hidden |= {"remote-cert-tls", "route-table", "bind", "data-ciphers-fallback", "local"}
    for name, words in SAMPLES.items():
        if name in hidden:
            continue
        base = _base(OPTIONS[name], server_text, client_text)
        lines = normalised(load(f"{base}{name} {words}\n")).splitlines()
        assert any(line.split(" ")[0] == name for line in lines), name


def test_epoch_keys_may_be_declined_or_limited(load: Load, fail: Fail, server_text: str) -> None:
    plain = load(server_text).data
    assert (plain.epoch_keys, plain.epoch_usage) == (True, None)
    for word, expected in (("no", (False, None)), ("500", (True, 500))):
        config = load(f"{server_text}epoch-keys {word}\n")
        assert (config.data.epoch_keys, config.data.epoch_usage) == expected
        assert f"epoch-keys {word}" in normalised(config)
    for word in ("yes", "0", "63", str(2**36)):
        (error,) = fail(f"{server_text}epoch-keys {word}\n")
        assert error.startswith("x.conf:6: epoch-keys:")
