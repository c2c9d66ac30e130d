"""A client's remotes, <connection> blocks and policies."""

from __future__ import annotations

import pytest

from ovpn6.config.schema import ClientConfig, Mode, PullFilter, Remote, RouteOrder
from ovpn6.model.names import Family, Transport
from ovpn6.model.specs import Keepalive
from tests.config.conftest import Fail, Load


def _client(load: Load, text: str) -> ClientConfig:
    config = load(text)
    assert config.mode is Mode.CLIENT
    assert config.server is None
    assert config.client is not None
    return config.client


def _remotes(load: Load, text: str) -> tuple[Remote, ...]:
    return _client(load, text).remotes


def test_remotes_keep_their_order_and_take_what_they_do_not_say_from_outside(
    load: Load, client_text: str
) -> None:
    text = f"{client_text}remote vpn.example.net 443 tcp6-client\nremote 192.0.2.1\nrport 1195\n"
    assert [
        (each.host, each.port, each.transport, each.family) for each in _remotes(load, text)
    ] == [
        ("2001:db8::1", 1195, Transport.UDP, Family.IPV6),
        ("vpn.example.net", 443, Transport.TCP, Family.IPV6),
        ("192.0.2.1", 1195, Transport.UDP, Family.IPV4),
    ]


def test_client_does_not_bind_its_port_unless_told(load: Load, client_text: str) -> None:
    for line, port in (
        ("", 0),
        ("port 1195", 0),
        ("nobind", 0),
        ("lport 0", 0),
        ("lport 1195", 1195),
        ("bind", 1194),
        ("local 2001:db8::7", 1194),
        ("local 2001:db8::7\nlport 5", 5),
    ):
        assert _remotes(load, f"{client_text}{line}\n")[0].local_port == port, line


@pytest.mark.parametrize("line", ["lport 1195", "bind", "local ::1"])
def test_nobind_contradicts_binding(line: str, fail: Fail, client_text: str) -> None:
    (error,) = fail(f"{client_text}nobind\n{line}\n")
    assert error.startswith(f"x.conf:8: nobind and {line.split()[0]} exclude each other")


def test_blocks_inherit_from_what_stands_before_them(load: Load, client_text: str) -> None:
    base = client_text.replace("remote 2001:db8::1\n", "")
    text = f"""{base}connect-timeout 30
<connection>
remote a.example 1194 udp
explicit-exit-notify 2
tls-auth shared.key 1
</connection>
<connection>
remote b.example 443 tcp
connect-timeout 5
explicit-exit-notify 2
</connection>
"""
    first, second = _remotes(load, text)
    assert (first.host, first.connect_timeout, first.explicit_exit_notify) == ("a.example", 30, 2)
    assert first.tls_auth is not None
    assert first.key_direction == 1
    assert (second.host, second.transport, second.connect_timeout) == (
        "b.example",
        Transport.TCP,
        5,
    )
    assert second.explicit_exit_notify == 0  # TCP closes instead
    assert second.tls_auth is None


def test_inline_key_in_a_block_belongs_to_it(load: Load, client_text: str) -> None:
    base = client_text.replace("remote 2001:db8::1\n", "")
    block = "<connection>\nremote a\n<tls-crypt>\nx\n</tls-crypt>\n</connection>\n"
    (remote,) = _remotes(load, base + block)
    assert remote.tls_crypt is not None
    assert remote.tls_crypt.inline == "x\n"


def test_errors_in_a_block_carry_the_line_of_the_file(fail: Fail, client_text: str) -> None:
    block = "<connection>\nremote a\nverb 4\nrmote b\ntls-auth gone.key\nport x\n</connection>\n"
    assert [error.split(" (")[0] for error in fail(f"{client_text}{block}")] == [
        "x.conf:10: verb cannot stand in a <connection> block",
        "x.conf:11: unknown directive 'rmote'",
        "x.conf:12: tls-auth gone.key: there is no such file",
        "x.conf:13: port: 'x' is not a whole number",
    ]


def test_block_without_a_remote_is_an_error(fail: Fail, client_text: str) -> None:
    assert fail(f"{client_text}<connection>\nproto udp\n</connection>\n") == [
        "x.conf:8: <connection> has no remote (add `remote HOST PORT` to it)"
    ]


def test_remote_beside_blocks_is_warned_of(load: Load, client_text: str) -> None:
    config = load(f"{client_text}<connection>\nremote a\n</connection>\n")
    assert "x.conf:3: remote is not used beside <connection> blocks" in config.warnings


def test_forced_protocol_leaves_the_other_remotes_out(
    load: Load, fail: Fail, client_text: str
) -> None:
    text = f"{client_text}remote b 443 tcp\n"
    assert [each.host for each in _remotes(load, f"{text}proto-force tcp\n")] == ["b"]
    assert "proto-force tcp leaves no remote" in fail(f"{client_text}proto-force tcp\n")[0]


def test_address_of_the_wrong_family_is_an_error(fail: Fail, client_text: str) -> None:
    (error,) = fail(f"{client_text}remote 2001:db8::2 1194 udp4\n")
    assert error == "x.conf:8: 2001:db8::2 is not an address of udp4 (write udp)"


def test_pull_and_tls_client_are_a_client(load: Load, client_text: str) -> None:
    text = client_text.replace("client\n", "pull\ntls-client\n", 1)
    assert _client(load, text) == _client(load, client_text)


def test_policies_are_read(load: Load, client_text: str) -> None:
    text = f"""{client_text}pull-filter ignore "route "
pull-filter reject redirect-gateway
connect-retry 5 100
resolv-retry 60
auth-user-pass
"""
    client = _client(load, text)
    assert client.pull_filters == (
        PullFilter("ignore", "route "),
        PullFilter("reject", "redirect-gateway"),
    )
    assert (client.connect_retry, client.resolv_retry) == ((5, 100), 60)
    assert client.auth_user_pass_prompt


def test_client_may_prove_itself_by_password_alone(load: Load, client_text: str) -> None:
    text = client_text.replace("cert own.crt\nkey own.key\n", "auth-user-pass secret.txt\n")
    client = _client(load, text)
    assert client.auth_user_pass is not None
    assert not client.auth_user_pass_prompt


def test_keepalive_of_a_client_is_as_written(load: Load, client_text: str) -> None:
    assert load(f"{client_text}keepalive 10 60\n").data.keepalive == Keepalive(10, 60)
    exits = load(f"{client_text}ping 10\nping-exit 60\n").data
    assert (exits.keepalive, exits.ping_exit) == (Keepalive(10, 60), True)


def test_client_that_accepts_any_certificate_of_the_authority_is_warned(
    load: Load, client_text: str
) -> None:
    text = client_text.replace("remote-cert-tls server\n", "")
    assert "add remote-cert-tls server" in load(text).warnings[0]


def test_routes_keep_their_words(load: Load, client_text: str) -> None:
    text = f"""{client_text}route-ipv6 2001:db8:5::/48
route-table 100
route 192.168.0.0 255.255.0.0 net_gateway 5
route remote_host 255.255.255.255 vpn_gateway
"""
    first, second, third = load(text).host.routes
    assert (str(first.destination), first.gateway, first.table) == ("2001:db8:5::/48", "", 0)
    assert (second.gateway, second.metric, second.table) == ("net_gateway", 5, 100)
    assert third == RouteOrder(None, "remote_host", "vpn_gateway", None, 100)


def test_redirect_flags_add_up(load: Load, client_text: str) -> None:
    text = f"{client_text}redirect-gateway def1\nredirect-gateway ipv6\n"
    assert load(text).host.redirect_gateway == frozenset({"def1", "ipv6"})
    assert load(f"{client_text}redirect-private\n").host.redirect_gateway == {"private"}
    assert load(client_text).host.redirect_gateway is None
