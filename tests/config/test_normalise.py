"""What ``ovpn6 check`` prints can be loaded again and means the same."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace

import pytest

from ovpn6.config.load import normalised
from ovpn6.config.options import OPTIONS, Side
from ovpn6.config.schema import FileRef, TunnelConfig
from ovpn6.model.errors import Source
from tests.config.conftest import Load
from tests.config.test_options import SAMPLES

NOWHERE = Source("nowhere")


def _anywhere(value: object) -> object:
    """The value with every source made the same."""
    if isinstance(value, FileRef):
        return replace(value, source=NOWHERE)
    if isinstance(value, tuple):
        return tuple(_anywhere(item) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value)]
        return (type(value).__name__, *(_anywhere(getattr(value, name)) for name in names))
    return value


def _meaning(config: TunnelConfig) -> object:
    return _anywhere(replace(config, warnings=(), origin=NOWHERE))


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_normalised_configuration_means_the_same(
    name: str, load: Load, server_text: str, client_text: str
) -> None:
    option = OPTIONS[name]
    client_only = option.side is Side.CLIENT or name in ("ifconfig", "ifconfig-ipv6", "rport")
    text = f"{client_text if client_only else server_text}{name} {SAMPLES[name]}\n"
    config = load(text)
    assert _meaning(load(normalised(config))) == _meaning(config)


def test_large_server_means_the_same(load: Load, server_text: str) -> None:
    text = f"""{server_text}server 10.8.0.0 255.255.255.0
local * 1194 udp6
local 192.0.2.1 443 tcp
keepalive 10 60
tls-auth shared.key 0
script-security 2
client-connect "script.sh 'a b' \\"c\\""
push "redirect-gateway ipv6"
tcp-nodelay
"""
    config = load(text)
    assert _meaning(load(normalised(config))) == _meaning(config)


def test_client_with_blocks_means_the_same(load: Load, client_text: str) -> None:
    text = f"""{client_text}<connection>
remote 2001:db8::1 1194 udp
tls-auth shared.key 1
lport 1195
</connection>
<connection>
remote vpn.example.net 443 tcp6
tls-crypt shared.key
local 2001:db8::7
</connection>
connect-retry 2 60
pull-filter ignore "route "
route-ipv6 2001:db8:5::/48 net_gateway
"""
    config = load(text)
    assert _meaning(load(normalised(config))) == _meaning(config)


def test_inline_text_is_shown_by_a_mark(load: Load, server_text: str) -> None:
    config = load(f"{server_text}<tls-crypt>\nhush\n</tls-crypt>\n")
    shown = normalised(config)
    assert "hush" not in shown
    assert "<tls-crypt>\n[[INLINE]]\n</tls-crypt>\n" in shown


def test_macros_are_shown_expanded(load: Load, server_text: str) -> None:
    lines = normalised(load(f"{server_text}keepalive 10 60\n")).splitlines()
    assert lines[:2] == ["mode server", "tls-server"]
    for line in (
        "ifconfig-ipv6 2001:db8:8::1/64",
        "ifconfig-ipv6-pool 2001:db8:8::1000/64",
        "push tun-ipv6",
        'push "ping-restart 60"',
        "ping-restart 120",
    ):
        assert line in lines
