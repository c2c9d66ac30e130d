"""Many clients of both makers on one server; how many may come, and under which names."""

from __future__ import annotations

import re
from signal import SIGTERM as TERM

import pytest
from interop.ends import INNER, OUR_SERVER, Maker, Pairing
from serving.ends import inner, join, listed, make_clients, serve, wait_without_clients

from ovpn6.lab import Lab, Namespace, Star, Tunnel, ping, star, wait_for
from ovpn6.pki.authority import Authority

pytestmark = pytest.mark.root

COUNT = 20


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    names = [f"client{number}" for number in range(1, COUNT + 1)]
    return make_clients(tmp_path_factory.mktemp("many"), names)


def test_twenty_clients_of_both_makers_come_at_once_and_go(lab: Lab, authority: Authority) -> None:
    net = star(lab, COUNT)
    server = serve(net, authority, Maker.OURS)
    clients = [
        join(
            net,
            authority,
            Maker.STOCK if number % 2 else Maker.OURS,
            name=f"client{number}",
            namespace=namespace,
        )
        for number, namespace in enumerate(net.clients, start=1)
    ]
    for client in clients:
        client.wait_up(limit=60)
    addresses = [inner(client) for client in clients]
    for family in (6, 4):
        assert len({each[family] for each in addresses}) == COUNT
    for namespace, each in zip(net.clients, addresses, strict=True):
        for address in INNER:
            assert ping(namespace, address, count=2).complete
        for address in each.values():
            assert ping(net.server, address, count=2).complete
    rows = {f"client{number}": listed(server, f"client{number}") for number in range(1, COUNT + 1)}
    assert {(row.ipv6, row.ipv4) for row in rows.values()} == {
        (str(each[6]), str(each[4])) for each in addresses
    }
    assert len({row.columns["Peer ID"] for row in rows.values()}) == COUNT

    # All are told before one is waited for: they go together too.
    lab_processes = [client.process for client in clients]
    for process in lab_processes:
        process.signal(TERM)
    assert [process.wait(15) for process in lab_processes] == [0] * COUNT
    wait_without_clients(server)
    assert all(namespace.tunnels() == () for namespace in net.clients)
    server.stop()
    assert net.server.tunnels() == ()


@pytest.mark.parametrize("pairing", OUR_SERVER[:2], ids=str)
def test_a_client_too_many_is_put_off_and_comes_in_when_another_left(
    lab: Lab, authority: Authority, pairing: Pairing
) -> None:
    net = star(lab, 2)
    server = serve(net, authority, pairing.server, "max-clients 1")
    first, second = net.clients
    one = join(net, authority, pairing.client, name="client1", namespace=first)
    one.wait_up()
    two = join(net, authority, pairing.client, name="client2", namespace=second)
    two.process.wait_for_log(r"AUTH_FAILED,TEMP", 20)
    assert ping(first, INNER[0]).complete
    listed(server, "client1")
    assert server.status().client("client2") is None
    one.stop()
    two.wait_up(limit=40)
    assert ping(second, INNER[0]).complete


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_a_second_client_of_the_same_name_takes_the_place_of_the_first(
    lab: Lab, authority: Authority, pairing: Pairing
) -> None:
    net = star(lab, 2)
    server = serve(net, authority, pairing.server)
    first, second = _two_of_a_name(net, authority, pairing)
    assert ping(second.namespace, INNER[0]).complete
    _wait_outer(server, "client1", {_own_address(second.namespace)})
    assert ping(first.namespace, INNER[0]).received == 0


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_with_duplicate_cn_both_of_a_name_stay(
    lab: Lab, authority: Authority, pairing: Pairing
) -> None:
    net = star(lab, 2)
    server = serve(net, authority, pairing.server, "duplicate-cn")
    first, second = _two_of_a_name(net, authority, pairing)
    for client in (first, second):
        for address in INNER:
            assert ping(client.namespace, address).complete
    _wait_outer(server, "client1", {_own_address(client.namespace) for client in (first, second)})
    assert inner(first) != inner(second)


def _two_of_a_name(net: Star, authority: Authority, pairing: Pairing) -> list[Tunnel]:
    clients = []
    for namespace in net.clients:
        clients.append(join(net, authority, pairing.client, name="client1", namespace=namespace))
        clients[-1].wait_up()
        assert ping(namespace, INNER[0]).complete
    return clients


def _wait_outer(server: Tunnel, name: str, addresses: set[str]) -> None:
    """Until the clients of a name connect from these addresses, one from each."""

    def there() -> bool:
        rows = [row for row in server.status().clients if row.common_name == name and row.cipher]
        # OpenVPN 2.6 shows IPv6 without port; a later one may show it.
        found = [re.sub(r"^\[?([0-9a-f:]+?)(?:\]:\d+)?$", r"\1", row.real_address) for row in rows]
        return sorted(found) == sorted(addresses)

    wait_for(there, 10, f"{name} at {sorted(addresses)} in the status", [server.process])


def _own_address(namespace: Namespace) -> str:
    return str(namespace.addresses("to-underlay")[0].ip)
