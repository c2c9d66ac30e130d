"""What the namespace tests ask of a tunnel, asked of one whose data channel is in the kernel.

The scenarios of those files run here as they are; afterwards every daemon of the test must have
said that its data channel is in the kernel, and no tunnel device may be of another kind.
"""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import test_daemon
import test_float
import test_listening
import test_recovery
from interop import relay
from interop.ends import (
    INNER,
    OUR_SERVER,
    OURS_OURS,
    OURS_STOCK,
    PAIRINGS,
    STOCK_OURS,
    UP,
    Ends,
    Maker,
    Pairing,
    client_text,
    start,
    up_again,
)
from interop.streams import Stream
from serving.ends import inner, join, make_clients, serve
from vm.guest.test_kernel_tunnels import IN_KERNEL

from ovpn6.lab import Lab, Line, Underlay, line, ping, star, wait_for, wait_reachable
from ovpn6.pki.authority import Authority
from ovpn6.pki.profile import RemoteLine

pytestmark = pytest.mark.root

DCO = r"DCO device \S+ opened"
"""What OpenVPN says of its data channel in the kernel."""
FELL_SILENT = r"nothing heard for the keepalive timeout|Inactivity timeout"
"""What our server, and our client, says of it."""
NAMES = ("client", "other", *test_listening.NAMES)

Scenario = Callable[..., None]


def named(who: Pairing | Maker) -> str:
    """For a test's name."""
    return who.value if isinstance(who, Maker) else str(who)


SCENARIOS: tuple[tuple[Scenario, tuple[Pairing | Maker, ...]], ...] = (
    (test_float.test_a_client_with_a_new_ipv6_address_keeps_its_session, PAIRINGS),
    (
        test_float.test_a_client_behind_a_translator_that_changes_its_port_keeps_its_session,
        (OURS_STOCK,),
    ),
    (test_float.test_a_client_with_float_follows_its_server_to_another_address, (STOCK_OURS,)),
    # OpenVPN's server leaves its device behind then, and the next one has the same addresses.
    (
        test_recovery.test_a_server_that_was_killed_has_its_clients_back_when_it_starts_again,
        (OURS_STOCK, OURS_OURS),
    ),
    (test_recovery.test_over_tcp_a_killed_server_has_its_clients_back, (OURS_OURS,)),
    (
        test_recovery.test_sigusr1_makes_a_client_connect_anew_over_the_same_device,
        (STOCK_OURS,),
    ),
    (
        test_recovery.test_sigusr1_makes_a_server_start_over_and_its_clients_come_back,
        (OURS_STOCK,),
    ),
    (test_daemon.test_dev_netns_puts_the_tunnel_into_another_namespace, (Maker.STOCK,)),
    (test_daemon.test_a_server_s_device_may_live_in_another_namespace, tuple(Maker)),
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_clients(tmp_path_factory.mktemp("scenarios"), NAMES)


@pytest.mark.parametrize(
    ("scenario", "who"),
    [
        pytest.param(scenario, who, id=f"{scenario.__name__.removeprefix('test_')}-{named(who)}")
        for scenario, ends in SCENARIOS
        for who in ends
    ],
)
def test_in_the_kernel(
    ipv6_line: Line, authority: Authority, scenario: Scenario, who: Pairing | Maker
) -> None:
    scenario(ipv6_line, authority, who)
    check_all_in_kernel(ipv6_line.lab)


def test_one_server_serves_datagrams_and_streams_of_both_families(
    lab: Lab, authority: Authority
) -> None:
    test_listening.test_one_server_serves_datagrams_and_streams_of_both_families(
        lab, authority, Maker.STOCK
    )
    check_all_in_kernel(lab)


def test_clients_reach_each_other_through_the_server(lab: Lab, authority: Authority) -> None:
    net = star(lab, 2)
    serve(net, authority, Maker.OURS, "client-to-client")
    clients = [
        join(net, authority, maker, name=name, namespace=namespace)
        for maker, name, namespace in zip(Maker, ("client", "other"), net.clients, strict=True)
    ]
    for client in clients:
        client.wait_up()
    for near, far in (clients, reversed(clients)):
        for address in inner(far).values():
            wait_reachable(near.namespace, address)
            assert ping(near.namespace, address).complete
    check_all_in_kernel(lab)


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_a_client_that_moves_to_the_other_family_and_back_keeps_its_session(
    lab: Lab, authority: Authority, pairing: Pairing
) -> None:
    net = line(lab, Underlay.DUAL)
    near, far = (router_addresses(net, "to-client"), router_addresses(net, "to-server"))
    middle = net.underlay.popen(
        [
            *(sys.executable, "-I", "-S", str(Path(relay.__file__)), near[0], "1194"),
            *(str(address) for address in net.server_addresses),
            "1194",
        ],
        "relay",
    )
    middle.wait_for_log("^ready$", limit=10)
    # An IPv6 socket takes IPv4 as well.
    server = serve(net, authority, pairing.server, "reneg-sec 3 3")
    text = client_text(authority, RemoteLine(near[0], 1194, "udp6"), "reneg-sec 0")
    client = pairing.client.start(net.client, text, "client")
    client.wait_up()
    ends = Ends(net, server, client)
    with Stream(ends) as six, Stream(ends, family=4) as four:
        for address in (far[1], far[0]):
            middle.signal(signal.SIGUSR1)
            wait_for(
                lambda address=address: address in ends.client_row().real_address,
                15,
                f"{address} in the status",
                [server.process],
            )
            keys = client.log().count("Control Channel: TLS")
            wait_for(
                lambda keys=keys: client.log().count("Control Channel: TLS") > keys,
                15,
                f"new keys by way of {address}",
                [server.process, client.process],
            )
        results = six.result(), four.result()
    assert [result.lost for result in results] == [0, 0], results
    assert client.log().count(UP) == 1
    check_all_in_kernel(lab)


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_the_kernel_of_each_end_notices_silence(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    ends = start(net, authority, pairing, server_extra=[test_recovery.QUICK])
    ends.client_row()
    ours = [
        end
        for end, maker in ((ends.client, pairing.client), (ends.server, pairing.server))
        if maker is Maker.OURS
    ]
    with up_again(ends.client):
        net.underlay.nft(test_recovery.BLOCK)
        for end in ours:
            end.process.wait_for_log(FELL_SILENT, 20)
        wait_for(
            lambda: not ends.server.status().clients,
            20,
            "a status without clients",
            [ends.server.process],
        )
        net.underlay.nft(test_recovery.UNBLOCK)
    for address in INNER:
        wait_reachable(net.client, address)
    check_all_in_kernel(net.lab)


def check_all_in_kernel(lab: Lab) -> None:
    """Every daemon that came up says so, and every tunnel device that is there is of that kind."""
    daemons = [process for process in lab.processes() if re.search(UP, process.log())]
    assert daemons
    for daemon in daemons:
        assert re.search(f"{IN_KERNEL}|{DCO}", daemon.log()), daemon.describe()
    for namespace in lab.namespaces.values():
        assert {device.kind for device in namespace.tunnels()} <= {"ovpn"}


def router_addresses(net: Line, device: str) -> list[str]:
    """The addresses of the router on one side, IPv6 first."""
    return [str(address.ip) for address in net.underlay.addresses(device)]
