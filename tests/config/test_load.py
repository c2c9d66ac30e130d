"""Files, includes, the command line; every error at once with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from ovpn6.config.load import load_config, load_file
from ovpn6.config.schema import Mode
from ovpn6.model.errors import ConfigErrors, Source
from tests.config.conftest import Fail, Load


def test_every_error_is_told_at_once_in_the_order_of_the_file(fail: Fail) -> None:
    text = "\n".join(
        (
            "client",
            "remote 2001:db8::1 70000",
            "remot x",
            "fragment 1300",
            "ca missing.crt",
            'setenv A "b',
            "tun-mtu",
            "<cert>",
            "abc",
            "</cert>",
        )
    )
    errors = fail(text)
    assert [error.split(": ")[0] for error in errors] == [
        "x.conf:1",  # no remote that could be read
        "x.conf:2",
        "x.conf:3",
        "x.conf:4",
        "x.conf:5",
        "x.conf:6",
        "x.conf:7",
        "x.conf:8",  # cert without key
    ]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("remot x", "unknown directive 'remot' (did you mean remote?)"),
        ("zzzz", "unknown directive 'zzzz' (see `ovpn6 --help`)"),
        ("verb four", "verb: 'four' is not a whole number (usage: verb N)"),
        ("verb", "verb: too few words (usage: verb N)"),
        (
            "push route 1",
            "push: too many words (usage: push OPTION; quote a word that holds spaces)",
        ),
        ("server 10.8.0.0 255.255.255.252", "server: a tunnel network of /30 cannot be used"),
        ("<verb>\n3\n</verb>", "verb cannot be a block <verb> (usage: verb N)"),
        ("dev tap0", "Ethernet tunnels (tap) are not supported (use dev tun on both ends)"),
        ("dev vpn", "what vpn is to be cannot be seen from its name (add `dev-type tun`)"),
        ("dev null", "dev: a tunnel without an interface is not supported (use dev tun)"),
        ("topology net30", "topology net30 is not supported on a server (write topology subnet)"),
        ("tun-mtu 1200", "IPv6 needs an MTU of 1280, and tun-mtu is 1200"),
        ("data-ciphers AES-256-CBC", "data-ciphers: cipher AES-256-CBC is not supported"),
        ("compress lz4-v2", "compress: compression is not supported"),
        ("comp-lzo", "comp-lzo: compression is not supported"),
        ("allow-compression yes", "allow-compression: compression is not supported"),
        ("keepalive 10 15", "keepalive: the timeout 15 is less than twice the interval 10"),
        ("keepalive 10 60\nping 5", "keepalive and ping exclude each other"),
        ("ping-exit 5\nping-restart 5", "ping-exit and ping-restart exclude each other"),
        ("ccd-exclusive", "ccd-exclusive needs client-config-dir"),
        ("up script.sh", "script-security 1 does not permit the script of up"),
        ("script-security 2\nup gone.sh", "up: gone.sh is not a program that may be run"),
        ("script-security 2\nup ca.crt", "up: ca.crt is not a program that may be run"),
        ("tls-auth shared.key\ntls-crypt shared.key", "tls-auth and tls-crypt exclude each other"),
        ("tls-auth shared.key 2", "tls-auth: '2' is not known here (use 0 or 1)"),
        ("tls-auth shared.key\nauth none", "tls-auth needs a digest (write auth SHA256)"),
        ("tls-version-max 1.1", "tls-version-max 1.1 is below the minimum 1.2"),
        ("client-config-dir gone", "client-config-dir gone: there is no such directory"),
        ("client-config-dir ca.crt", "client-config-dir ca.crt: it is not a directory"),
        ("status gone/status", "status gone/status: there is no directory "),
        ("remote 2001:db8::1", "remote belongs to a client (remove it from this server)"),
        ("redirect-gateway", "redirect-gateway belongs to a client"),
        ("nobind", "nobind belongs to a client"),
        ("ifconfig-ipv6 2001:db8::1/64", "server-ipv6 already sets ifconfig-ipv6"),
        ("local * 1 udp6\nlocal * 1 udp6", "the same socket is asked for twice"),
        ("local 192.0.2.1 1 udp6", "192.0.2.1 is not an address of udp6 (write udp)"),
        ("proto tcp-client", "a server cannot use a client's protocol (write tcp-server)"),
        ("verify-client-cert none", "clients without a certificate would prove nothing"),
        ("auth-gen-token 60 30", "tokens would end before they are renewed (renew at 120 or more)"),
        ("pkcs12 ca.crt", "pkcs12 and cert exclude each other"),
        ("reneg-bytes 5", "reneg-bytes: keys are not renewed after a count"),
        ("setenv GENERIC_CONFIG 1", "setenv: this is a generic profile"),
        ('push "a,b"', "push: 'a,b' cannot be pushed"),
        ("peer-fingerprint ab", "peer-fingerprint: 'ab' is not a SHA-256 fingerprint"),
        ("askpass", "askpass: asking for the key's pass phrase is not supported"),
    ],
)
def test_wrong_line_is_told_with_its_place(
    line: str, error: str, fail: Fail, server_text: str
) -> None:
    errors = fail(server_text + line)
    last = 5 + line.count("\n") + 1 if not line.startswith("<") else 6
    assert any(
        found.startswith(f"x.conf:{at}: {error}") for found in errors for at in range(6, last + 1)
    ), errors


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("dev tun\n", "x.conf: neither server nor client nor one of two equal ends"),
        ("tls-client\n", "x.conf:1: nothing proves who this end is"),
        ("tls-server\n", "x.conf:1: a server needs a certificate and its key"),
        ("tls-server\ntls-client\n", "x.conf:2: tls-server and tls-client exclude each other"),
        ("tls-server\nclient\nremote a\n", "x.conf:2: tls-server and client exclude each other"),
        ("mode server\n", "x.conf:1: mode server needs tls-server"),
        ("mode server\ntls-server\n", "x.conf:1: a server needs a tunnel network"),
        ("client\nserver-ipv6 2001:db8::/64\n", "x.conf:1: client contradicts being a server"),
        ("client\n", "x.conf:1: a client needs a remote"),
        ("client\nremote a\n", "x.conf:1: nothing says which certificates to accept"),
        ("client\nremote a\nca ca.crt\n", "x.conf:1: nothing proves who this client is"),
        ("pull\nremote a\n", "x.conf:1: pull needs tls-client"),
        ("server-ipv6 2001:db8::/64\n", "x.conf:1: a server needs a certificate and its key"),
    ],
)
def test_configuration_that_is_no_whole_is_told(text: str, error: str, fail: Fail) -> None:
    assert any(found.startswith(error) for found in fail(text))


def test_command_line_directives_come_after_the_file_and_win(load: Load, server_text: str) -> None:
    config = load(f"{server_text}verb 3\n", "--verb", "5", "--push", "route-ipv6 2001:db8:5::/48")
    assert config.process.verb == 5
    assert config.server is not None
    assert config.server.push[0] == "route-ipv6 2001:db8:5::/48"


def test_error_on_the_command_line_says_so(fail: Fail, server_text: str) -> None:
    assert fail(server_text, "--verb", "x")[0].startswith("[command line]: verb: ")


def test_lone_word_is_a_file(place: Path, server_text: str) -> None:
    (place / "a.conf").write_text(server_text)
    assert load_config(["a.conf"]) == load_file(Path("a.conf"))
    assert load_file(Path("a.conf")).origin == Source("a.conf")


def test_nothing_at_all_is_an_error() -> None:
    with pytest.raises(ConfigErrors, match="there is no configuration"):
        load_config([])


def test_included_file_stands_in_its_place(place: Path, load: Load, server_text: str) -> None:
    (place / "more.conf").write_text("verb 5\nfast-io\n")
    config = load(f"verb 3\nconfig more.conf\nmute 2\n{server_text}")
    assert (config.process.verb, config.process.mute) == (5, 2)
    assert config.warnings[0].startswith("more.conf:2: fast-io")


def test_file_that_includes_itself_is_an_error(fail: Fail, server_text: str) -> None:
    errors = fail(f"{server_text}config x.conf\n")
    assert any("include each other" in error for error in errors)


def test_missing_included_file_is_an_error(fail: Fail, server_text: str) -> None:
    (error,) = fail(f"{server_text}config gone.conf\n")
    assert error.startswith("x.conf:6: config gone.conf: No such file")


def test_file_that_is_not_text_is_an_error(place: Path, fail: Fail, server_text: str) -> None:
    (place / "b.conf").write_bytes(b"\xff\xfe\x00")
    (error,) = fail(f"{server_text}config b.conf\n")
    assert error == "x.conf:6: config b.conf: it is not text (save it as UTF-8)"


def test_relative_paths_start_from_cd(place: Path, load: Load, server_text: str) -> None:
    (place / "sub").mkdir()
    for name in ("ca.crt", "own.crt", "own.key"):
        (place / name).rename(place / "sub" / name)
    config = load(f"cd sub\n{server_text}")
    assert config.tls.ca is not None
    assert config.tls.ca.path == place / "sub" / "ca.crt"


def test_paths_used_later_are_inside_the_chroot(place: Path, load: Load, server_text: str) -> None:
    (place / "jail" / "ccd").mkdir(parents=True)
    config = load(f"{server_text}client-config-dir ccd\nchroot jail\n")
    assert config.server is not None
    assert config.server.client_config_dir == Path("/ccd")
    assert config.process.chroot == place / "jail"


def test_inline_files_are_kept_as_text_and_never_shown(load: Load, server_text: str) -> None:
    config = load(f"{server_text}<tls-crypt>\nhush\n</tls-crypt>\n")
    assert config.wrap.key is not None
    assert config.wrap.key.inline == "hush\n"
    assert "hush" not in repr(config)


def test_key_that_others_may_read_is_warned_of(place: Path, load: Load, server_text: str) -> None:
    (place / "own.key").chmod(0o644)
    (warning,) = load(server_text).warnings
    assert warning == "x.conf:5: key own.key may be read by others: chmod 600 own.key"


def test_unknown_directive_that_is_forgiven_only_warns(load: Load, server_text: str) -> None:
    text = "ignore-unknown-option novelty fragment\nnovelty 1\nfragment 1300\nsetenv opt future 7\n"
    config = load(f"{server_text}{text}")
    assert [warning.split(":")[1] for warning in config.warnings] == ["7", "8", "9"]


def test_profile_for_later_versions_only_warns_of_what_is_unknown(
    load: Load, server_text: str
) -> None:
    config = load(f"{server_text}setenv FORWARD_COMPATIBLE 1\nnovelty 1\n")
    assert len(config.warnings) == 1


def test_optional_directive_that_is_known_counts(load: Load, server_text: str) -> None:
    assert load(f"{server_text}setenv opt verb 5\n").process.verb == 5


def test_old_cbc_cipher_is_warned_of_and_left_out(load: Load, client_text: str) -> None:
    config = load(f"{client_text}cipher AES-256-CBC\n")
    assert config.data.cipher_fallback == ""
    assert "cipher AES-256-CBC is not used" in config.warnings[0]


def test_old_aead_cipher_is_the_fallback(load: Load, client_text: str) -> None:
    assert load(f"{client_text}cipher AES-128-GCM\n").data.cipher_fallback == "AES-128-GCM"


def test_fallback_that_is_named_wins_over_cipher(load: Load, client_text: str) -> None:
    text = f"{client_text}cipher AES-128-GCM\ndata-ciphers-fallback AES-256-GCM\n"
    assert load(text).data.cipher_fallback == "AES-256-GCM"


def test_client_directives_that_a_server_may_ignore_only_warn(load: Load, server_text: str) -> None:
    config = load(f"{server_text}resolv-retry infinite\nauth-nocache\n")
    assert config.mode is Mode.SERVER
    assert [warning.split(": ")[1] for warning in config.warnings] == [
        "resolv-retry belongs to a client and does nothing here",
        "auth-nocache belongs to a client and does nothing here",
    ]


def test_pushed_option_that_no_client_knows_is_warned_of(load: Load, server_text: str) -> None:
    (warning,) = load(f'{server_text}push "rotue 10.0.0.0 255.0.0.0"\n').warnings
    assert "clients will not know the pushed option 'rotue'" in warning


def test_script_becomes_absolute_words(place: Path, load: Load, server_text: str) -> None:
    config = load(f"{server_text}script-security 2\nup \"script.sh 'one two' three\"\n")
    assert config.scripts.up == (str(place / "script.sh"), "one two", "three")


def test_tunnel_mtu_is_1420_unless_told_otherwise(load: Load, server_text: str) -> None:
    assert load(server_text).host.tun_mtu == 1420


def test_device_may_live_in_another_namespace(load: Load, server_text: str) -> None:
    device = load(f"{server_text}dev wan6\ndev-type tun\ndev-netns inner\n").host.device
    assert (device.name, device.netns) == ("wan6", "inner")
