"""The native worker seals the reference's octets, and opens them, in both formats."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovpn6.model.specs import DataFormat
from ovpn6.protocol.data_channel import SendKey, UsageLimits
from ovpn6.protocol.epoch_channel import EpochReceiveKey, EpochSendKey
from tests.datapath.native_worker import NO_LIMIT, PEER, Alone, alone
from tests.datapath.packets import ip_packet, key_pair

CIPHERS = ["AES-128-GCM", "AES-192-GCM", "AES-256-GCM", "CHACHA20-POLY1305"]
SIZES = (0, 1, 15, 16, 17, 255, 256, 1300, 8000)


def packet(size: int) -> bytes:
    return ip_packet("2001:db8::1", "2001:db8::5", bytes(n % 253 for n in range(size)))


def leave(worker: Alone, packets: Sequence[bytes]) -> list[bytes]:
    """The datagrams that the worker sends for packets, one by one."""
    datagrams = []
    for one in packets:
        worker.inside.send(one)
        datagrams += worker.sealed(1)
    return datagrams


def arrive(worker: Alone, datagrams: Sequence[bytes]) -> list[bytes]:
    """What it writes for datagrams, one by one."""
    written = []
    for one in datagrams:
        worker.outside.sendto(one, worker.link.getsockname())
        written += worker.written(1)
    return written


@pytest.mark.parametrize("provider", ["ipsec-mb", "openssl"])
@pytest.mark.parametrize("cipher", CIPHERS)
def test_every_library_seals_and_opens_every_size(cipher: str, provider: str) -> None:
    with alone(vnet=False, provider=provider) as worker:
        worker.install(key_pair(0, 1, cipher))
        packets = [packet(size) for size in SIZES]
        reference = SendKey(key_pair(0, 1, cipher), PEER)
        assert leave(worker, packets) == [reference.seal(one) for one in packets]
        other = SendKey(key_pair(1, 1, cipher), PEER)
        assert arrive(worker, [other.seal(one) for one in packets]) == packets


@pytest.mark.parametrize("cipher", CIPHERS)
@given(sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=25), limit=st.integers(0, 800))
@settings(max_examples=8, deadline=None)
def test_epochs_begin_where_the_references_do(cipher: str, sizes: list[int], limit: int) -> None:
    """Octet by octet, through as many epochs as the key's limit makes."""
    near, far = (key_pair(end, 2, cipher, DataFormat.EPOCH) for end in (0, 1))
    limits = UsageLimits(limit)
    with alone(vnet=False) as worker:
        worker.install(near, limit)
        reference = EpochSendKey(near, PEER, limits)
        packets = [packet(size) for size in sizes]
        datagrams = leave(worker, packets)
        assert datagrams == [reference.seal(one) for one in packets]
        # The other end follows; the worker opens what it sends, in whatever epoch.
        sender = EpochSendKey(far, PEER, UsageLimits(None))
        receiver = EpochReceiveKey(far, sender)
        for one in packets:
            datagram = datagrams.pop(0)
            assert receiver.open(datagram) == one
            assert arrive(worker, [sender.seal(one)]) == [one]


def test_an_epoch_too_far_ahead_opens_nothing() -> None:
    near, far = (key_pair(end, 2, data_format=DataFormat.EPOCH) for end in (0, 1))
    with alone(vnet=False) as worker:
        worker.install(near, NO_LIMIT)
        sender = EpochSendKey(far, PEER)
        sender.reach(6)
        worker.outside.sendto(sender.seal(packet(9)), worker.link.getsockname())
        worker.until(lambda: worker.worker.drops() == {"data unknown epoch": 1})


@pytest.mark.parametrize(
    "mistake",
    [
        {"key_id": 8},
        {"slot": 2},
        {"cipher": "AES-256-CBC"},
        {"send_key": bytes(31)},
        {"receive_iv": bytes(7)},
        {"epoch": True},
    ],
)
def test_keys_of_the_wrong_shape_are_refused(mistake: dict[str, object]) -> None:
    lawful: dict[str, object] = {
        "slot": 0,
        "key_id": 0,
        "cipher": "AES-256-GCM",
        "epoch": False,
        "usage": NO_LIMIT,
        "failures": 1,
        "send_key": bytes(32),
        "send_iv": bytes(8),
        "receive_key": bytes(32),
        "receive_iv": bytes(8),
    }
    with alone(vnet=False) as worker:
        worker.worker.install_key(PEER, *lawful.values())
        with pytest.raises(ValueError, match="key"):
            worker.worker.install_key(PEER, *(lawful | mistake).values())


def test_what_is_not_there_is_a_key_error() -> None:
    with alone(vnet=False) as alone_worker:
        worker = alone_worker.worker
        for call in (worker.counters, worker.remove_link, worker.swap_keys, worker.send_exit):
            with pytest.raises(KeyError):
                call(77)
        with pytest.raises(ValueError, match="prefixes"):
            worker.remove_peer(PEER)
        with pytest.raises(ValueError, match="prefix"):
            worker.set_route(b"\x01\0\0\0", 4, PEER)
        for reserved in range(3):
            with pytest.raises(ValueError, match="new id"):
                worker.add_udp(0xFFFFFFFF - reserved, (0,), socket.AF_INET6, False)
        worker.close()
        with pytest.raises(ValueError, match="closed"):
            worker.drops()
