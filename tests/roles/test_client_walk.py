"""The order of attempts and the pauses between them."""

from __future__ import annotations

import random
from ipaddress import ip_address

import pytest

from ovpn6.config.schema import ClientConfig, Remote
from ovpn6.model.addresses import Endpoint
from ovpn6.roles.client_walk import RemoteWalk

A, B, C = (Remote(name) for name in ("a.example", "b.example", "c.example"))
V6 = Endpoint(ip_address("2001:db8::1"), 1194)
V6_SECOND = Endpoint(ip_address("2001:db8::2"), 1194)
V4 = Endpoint(ip_address("192.0.2.1"), 1194)


def walk(*remotes: Remote, seed: int = 1, **fields: object) -> RemoteWalk:
    client = ClientConfig(remotes=remotes, **fields)  # type: ignore[arg-type]
    return RemoteWalk(client, random.Random(seed).randbytes)


def at(place: RemoteWalk) -> tuple[str, Endpoint | None]:
    return place.remote.host, place.endpoint


def test_addresses_are_tried_ipv6_first_then_the_next_entry() -> None:
    place = walk(A, B)
    assert at(place) == ("a.example", None)
    assert place.resolved([V4, V6, V6_SECOND]) == V6
    assert not place.advance()
    assert place.endpoint == V6_SECOND
    assert not place.advance()
    assert place.endpoint == V4
    assert not place.advance()
    assert at(place) == ("b.example", None)
    assert place.advance(), "the list is through"
    assert at(place) == ("a.example", None), "and is looked up anew"


def test_after_a_success_the_same_address_is_tried_first_and_once() -> None:
    place = walk(A, B)
    place.resolved([V6, V4])
    place.succeeded()
    assert place.advance()
    assert at(place) == ("a.example", V6)
    assert not place.advance()
    assert place.endpoint == V4


def test_a_server_can_send_its_client_to_the_next_address_or_entry_or_keep_it() -> None:
    place = walk(A, B)
    place.resolved([V6, V4])
    place.succeeded()
    place.ask("addr")
    place.advance()
    assert place.endpoint == V4
    place.ask("no")
    place.advance()
    assert place.endpoint == V4
    place.resolved([V6, V4])
    place.ask("remote")
    place.advance()
    assert place.remote == B


def test_remote_random_walks_each_entry_once_a_round_in_an_order_of_its_own() -> None:
    orders = set()
    for seed in range(20):
        place = walk(A, B, C, seed=seed, remote_random=True)
        order = []
        for _ in range(3):
            order.append(place.remote)
            place.advance()
        assert sorted(remote.host for remote in order) == ["a.example", "b.example", "c.example"]
        orders.add(tuple(order))
    assert len(orders) > 2


def rounds(place: RemoteWalk, count: int, remotes: int) -> list[int]:
    pauses = []
    for _ in range(count):
        for _ in range(remotes):
            place.advance()
        pauses.append(place.take_pause())
    return pauses


@pytest.mark.parametrize("remotes", [(A,), (A, B, C)])
def test_the_pause_doubles_after_five_rounds_up_to_its_limit(remotes: tuple[Remote, ...]) -> None:
    place = walk(*remotes, connect_retry=(1, 20))
    pauses = rounds(place, 10, len(remotes))
    if len(remotes) == 1:
        assert pauses == [1, 1, 1, 2, 4, 8, 16, 20, 20, 20]
    else:
        assert pauses == [1, 1, 1, 1, 2, 4, 8, 16, 20, 20]


def test_a_success_ends_the_doubling() -> None:
    place = walk(A, connect_retry=(1, 300))
    assert rounds(place, 8, 1)[-1] > 1
    place.succeeded()
    place.advance()
    assert place.take_pause() == 1


def test_a_servers_backoff_counts_once_and_not_beyond_the_limit() -> None:
    place = walk(A, connect_retry=(1, 60))
    place.ask("no", backoff=42)
    assert [place.take_pause(), place.take_pause()] == [42, 1]
    place.ask("no", backoff=4000)
    assert place.take_pause() == 60


def test_auth_retry_nointeract_waits_ten_seconds() -> None:
    assert walk(A, auth_retry="nointeract").take_pause() == 10


def test_connect_retry_max_is_over_after_that_many_rounds() -> None:
    place = walk(A, B, connect_retry_max=2)
    for _ in range(3):
        place.advance()
        assert not place.exhausted
    place.advance()
    assert place.exhausted
    endless = walk(A)
    rounds(endless, 1000, 1)
    assert not endless.exhausted
