"""Packet sizes: what may be said, where, and what contradicts itself."""

from __future__ import annotations

import pytest

from ovpn6.config.load import normalised
from ovpn6.config.schema import Mssfix, MtuConfig
from tests.config.conftest import Fail, Load


@pytest.mark.parametrize(
    ("words", "mssfix"),
    [
        ("", None),
        ("0", Mssfix(0)),
        ("1300", Mssfix(1300)),
        ("1300 mtu", Mssfix(1300, "mtu")),
        ("1300 fixed", Mssfix(1300, "fixed")),
    ],
)
def test_mssfix_says_what_it_bounds(
    load: Load, server_text: str, words: str, mssfix: Mssfix | None
) -> None:
    config = load(f"{server_text}mssfix 1400\nmssfix {words}\n")
    assert config.mtu.mssfix == mssfix
    assert config.warnings == ()


def test_everything_has_its_usual_value_without_a_directive(load: Load, server_text: str) -> None:
    config = load(server_text)
    assert config.mtu == MtuConfig()
    assert "mtu" not in normalised(config)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("mssfix 1300 outer", "outer"),
        ("mssfix 100", "leaves no room for a packet"),
        ("mtu-disc perhaps", "perhaps"),
        ("path-mtu-base 500", "500"),
        ("path-mtu-max 1279", "1279"),
        ("path-mtu-timers 0 1 2", "not a number of seconds"),
        ("path-mtu-timers x 1 2", "not a number of seconds"),
        ("path-mtu-timers 1 1 600", "longer than the one before"),
        ("path-mtu-timers 1 10 9", "longer than the one before"),
        ("path-mtu-base 1400\npath-mtu-max 1300", "path-mtu-base is greater than path-mtu-max"),
    ],
)
def test_what_makes_no_sense_is_refused(
    fail: Fail, server_text: str, line: str, reason: str
) -> None:
    (error,) = fail(f"{server_text}{line}\n")
    assert reason in error


@pytest.mark.parametrize("name", ["fragment 1300", "mtu-test"])
def test_what_discovery_replaces_is_refused_with_what_to_do(
    fail: Fail, server_text: str, name: str
) -> None:
    (error,) = fail(f"{server_text}{name}\n")
    assert "path's MTU is" in error
    assert "remove the line" in error


def test_a_block_has_sizes_of_its_own(load: Load, client_text: str) -> None:
    text = (
        f"{client_text}mssfix 1400 mtu\n"
        "<connection>\nremote 2001:db8::1\nmssfix 1300\nmtu-disc no\n</connection>\n"
        "<connection>\nremote 2001:db8::2\n</connection>\n"
    )
    config = load(text)
    assert config.client is not None
    first, second = config.client.remotes
    assert (first.mssfix, first.mtu_disc) == (Mssfix(1300), "no")
    assert (second.mssfix, second.mtu_disc) == (Mssfix(1400, "mtu"), "maybe")
    again = load(normalised(config))
    assert again.client is not None
    assert again.client.remotes == config.client.remotes
    assert again.mtu == config.mtu


def test_timers_survive_being_written_down(load: Load, server_text: str) -> None:
    config = load(f"{server_text}path-mtu-timers 0.25 2 3600\n")
    assert (config.mtu.probe, config.mtu.confirm, config.mtu.raise_) == (0.25, 2.0, 3600.0)
    assert "path-mtu-timers 0.25 2 3600" in normalised(config)


def test_a_server_for_ipv6_needs_an_mtu_for_it(fail: Fail, server_text: str) -> None:
    (error,) = fail(f"{server_text}tun-mtu 1279\n")
    assert "IPv6 needs an MTU of 1280" in error
