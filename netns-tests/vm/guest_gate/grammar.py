"""Requests to the module by the contract's grammar, and beside it. Pure.

A request is made lawful first: every attribute its policy names may be there, within its limits.
Then, most of the time, something about it is spoilt, at any depth. What an attribute says is
drawn from few values, so that requests meet: the same few peers, addresses, slots.
"""

from __future__ import annotations

import copy
import random
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.append(str(Path(__file__).parents[3] / "kmod/netlink"))
import contract

_NESTED = 0x8000
_BYTE_ORDER = 0x4000
_TLV = struct.Struct("=HH")
_GENERIC = struct.Struct("=BBH")
# What others need comes more often than what takes it away.
_REQUESTS = (*contract.REQUESTS, *contract.DUMPS, "PEER_NEW", "PEER_NEW", "KEY_NEW", "PREFIX_NEW")
_PEERS = (1, 1, 1, 2, 3, 7, contract.LARGEST_PEER_ID)
_ADDRESSES4 = (
    b"\xc0\0\x02\x01",
    b"\xc0\0\x02\x02",
    b"\x7f\0\0\x01",
    bytes(4),
    b"\xff" * 4,
    b"\xe0\0\0\1",
)
_ADDRESSES6 = (
    bytes.fromhex("20010db8000000000000000000000001"),
    bytes.fromhex("20010db8000000000000000000000002"),
    bytes.fromhex("fe800000000000000000000000000001"),
    bytes.fromhex("00000000000000000000000000000001"),
    bytes.fromhex("00000000000000000000ffffc0000201"),
    bytes.fromhex("ff020000000000000000000000000001"),
    bytes(16),
)
_LENGTHS = (0, 24, 31, 32, 32, 64, 127, 128, 128)
_KEY_SIZES = (16, 24, 32, 32, 32)


@dataclass(slots=True)
class Node:
    """An attribute: octets, or nodes where it is a nest."""

    number: int
    value: bytes = b""
    inside: list[Node] = field(default_factory=list)
    is_nest: bool = False
    flags: int = 0
    claimed: int | None = None
    """The length that its header says, where that is a lie."""

    def encode(self) -> bytes:
        value = b"".join(node.encode() for node in self.inside) if self.is_nest else self.value
        length = _TLV.size + len(value) if self.claimed is None else self.claimed
        padding = bytes(-len(value) % 4)
        return _TLV.pack(length & 0xFFFF, self.number | self.flags) + value + padding


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What requests can be about: device numbers, and file descriptors of this process."""

    devices: Sequence[int]
    sockets: Sequence[int]


@dataclass(frozen=True, slots=True)
class Message:
    """What goes behind the netlink header."""

    command: int
    is_dump: bool
    payload: bytes
    is_lawful: bool


class Grammar:
    """Draws requests. The same ``seed`` and surroundings give the same ones."""

    def __init__(self, seed: int, surroundings: Surroundings) -> None:
        self._dice = random.Random(seed)
        self._surroundings = surroundings

    def draw(self) -> Message:
        """The next request: every third one is lawful."""
        dice = self._dice
        name = dice.choice(_REQUESTS)
        command = contract.COMMANDS[name]
        nodes = self._lawful(name)
        is_dump = name in contract.DUMPS or (name == "PEER_GET" and dice.random() < 0.3)
        if is_dump:
            nodes = nodes[:1]
        is_lawful = dice.random() < 0.4
        version = contract.VERSION
        if not is_lawful:
            for _ in range(dice.choice((1, 1, 1, 2, 5))):
                dice.choice(self._spoilers)(self, nodes)
            if dice.random() < 0.05:
                command, version = dice.randrange(256), dice.randrange(256)
            is_dump = is_dump != (dice.random() < 0.05)
        payload = _GENERIC.pack(command, version, 0) + b"".join(n.encode() for n in nodes)
        if not is_lawful and dice.random() < 0.15:
            payload = self._spoil_octets(payload)
        return Message(command, is_dump, payload, is_lawful)

    # --- what is lawful ---

    def _lawful(self, name: str) -> list[Node]:
        top = {attribute.name: attribute for attribute in contract.TOP}
        nodes = [
            Node(top["IFINDEX"].number, self._number(self._dice.choice(self._surroundings.devices)))
        ]
        if name not in contract.DUMPS:
            policy = next(p for p in contract.POLICIES if p.name == name.lower())
            nodes.append(self._nest(top[policy.set].number, policy))
        return nodes

    def _nest(self, number: int, policy: contract.Policy) -> Node:
        known = {attribute.name: attribute for attribute in contract.SETS[policy.set]}
        nests = dict(policy.nests)
        inside = []
        for name in self._chosen(policy):
            attribute = known[name]
            if name in nests:
                below = next(p for p in contract.POLICIES if p.name == nests[name])
                inside.append(self._nest(attribute.number, below))
            else:
                inside.append(Node(attribute.number, self._value(policy.set, attribute)))
        if policy.set == "PREFIX" and self._dice.random() < 0.8:
            # A whole address has no bits beyond: so prefixes are lawful, and meet.
            found = {node.number: node for node in inside}
            address = found.get(known["IPV4"].number) or found[known["IPV6"].number]
            found[known["LENGTH"].number].value = self._number(8 * len(address.value))
        return Node(number, inside=inside, is_nest=True, flags=_NESTED)

    def _chosen(self, policy: contract.Policy) -> list[str]:
        """What a request says: for new things all it must, of a choice one."""
        dice, names = self._dice, list(policy.names)
        if policy.set == "PREFIX":
            names.remove(dice.choice(("IPV4", "IPV6")))
        if policy.set != "PEER":
            return names
        if policy.name in ("peer_get", "peer_del"):
            return ["ID"]
        family, other = dice.sample(("IPV4", "IPV6"), 2)
        left_out = {f"REMOTE_{other}", f"LOCAL_{other}"}
        if family == "IPV4" or dice.random() < 0.5:
            left_out.add("REMOTE_IPV6_SCOPE_ID")
        for some in (
            ("TX_ID",),
            ("KEEPALIVE_INTERVAL", "KEEPALIVE_TIMEOUT"),
            (f"LOCAL_{family}",),
            (f"VPN_{other}",),
        ):
            if dice.random() < 0.5:
                left_out.update(some)
        if policy.name == "peer_set" and dice.random() < 0.5:
            left_out.update(name for name in names if name.startswith(("REMOTE", "LOCAL")))
        # On a device for one peer an address in the tunnel is refused.
        if dice.random() < 0.4:
            left_out.update(("VPN_IPV4", "VPN_IPV6"))
        return [name for name in names if name not in left_out]

    def _value(self, group: str, attribute: contract.Attribute) -> bytes:
        dice, kind = self._dice, attribute.kind
        if attribute.name == "SOCKET":
            return self._number(dice.choice(self._surroundings.sockets))
        if attribute.name in ("ID", "PEER_ID", "TX_ID"):
            return self._number(dice.choice(_PEERS))
        if attribute.name == "LENGTH":
            return self._number(dice.choice(_LENGTHS))
        if attribute.name == "CIPHER_KEY":
            return dice.randbytes(dice.choice(_KEY_SIZES))
        if kind is contract.Kind.BYTES:
            return dice.randbytes(dice.randint(attribute.low, attribute.high or 0))
        if kind is contract.Kind.IPV4:
            return self._address(_ADDRESSES4)
        if kind is contract.Kind.IPV6:
            return self._address(_ADDRESSES6)
        if kind is contract.Kind.PORT:
            return struct.pack("!H", dice.randint(max(attribute.low, 1), 0xFFFF))
        high = 0xFFFFFFFF if attribute.high is None else attribute.high
        return self._number(
            dice.choice((attribute.low, high, dice.randint(attribute.low, high), 1))
        )

    def _address(self, some: Sequence[bytes]) -> bytes:
        """Mostly one of the first two, which are good for anything."""
        return self._dice.choice(some if self._dice.random() < 0.1 else some[:2])

    @staticmethod
    def _number(value: int) -> bytes:
        return struct.pack("=I", value & 0xFFFFFFFF)

    # --- what is not ---

    def _any(self, nodes: list[Node]) -> tuple[list[Node], int]:
        """A node somewhere: the list that it is in, and where."""
        while True:
            place = self._dice.randrange(len(nodes))
            node = nodes[place]
            if not node.inside or self._dice.random() < 0.25:
                return nodes, place
            nodes = node.inside

    def _drop(self, nodes: list[Node]) -> None:
        if nodes:
            siblings, place = self._any(nodes)
            del siblings[place]

    def _repeat(self, nodes: list[Node]) -> None:
        if nodes:
            siblings, place = self._any(nodes)
            siblings.insert(self._dice.randrange(len(siblings) + 1), copy.deepcopy(siblings[place]))

    def _renumber(self, nodes: list[Node]) -> None:
        if nodes:
            siblings, place = self._any(nodes)
            siblings[place].number = self._dice.choice((0, self._dice.randrange(32), 0x3FFF))

    def _reflag(self, nodes: list[Node]) -> None:
        if nodes:
            siblings, place = self._any(nodes)
            siblings[place].flags = self._dice.choice((0, _NESTED, _BYTE_ORDER, 0xC000))

    def _resize(self, nodes: list[Node]) -> None:
        if nodes:
            siblings, place = self._any(nodes)
            node, dice = siblings[place], self._dice
            size = dice.choice((0, 1, 2, 3, 5, 8, 15, 17, 255, 256, 257, 4000))
            node.value, node.is_nest = dice.randbytes(size), False

    def _revalue(self, nodes: list[Node]) -> None:
        if nodes:
            siblings, place = self._any(nodes)
            node = siblings[place]
            extremes = (b"\0", b"\xff", b"\x80", b"\x7f", b"\1")
            node.value = self._dice.choice(extremes) * len(node.value)

    def _lie(self, nodes: list[Node]) -> None:
        if nodes:
            siblings, place = self._any(nodes)
            siblings[place].claimed = self._dice.choice((0, 3, 4, 5, 8, 100, 0x7FFF, 0xFFFF))

    def _nest_wrongly(self, nodes: list[Node]) -> None:
        """A nest in a nest, where there should be none, many deep."""
        if nodes:
            siblings, place = self._any(nodes)
            for _ in range(self._dice.choice((1, 1, 2, 20))):
                inner = siblings[place]
                siblings[place] = Node(inner.number, inside=[inner], is_nest=True, flags=_NESTED)

    def _swap(self, nodes: list[Node]) -> None:
        """What belongs elsewhere."""
        if nodes:
            here, at = self._any(nodes)
            there, place = self._any(nodes)
            here[at], there[place] = copy.deepcopy(there[place]), copy.deepcopy(here[at])

    def _stranger(self, nodes: list[Node]) -> None:
        policy = self._dice.choice(contract.POLICIES)
        top = self._dice.choice(contract.TOP).number
        nodes.insert(self._dice.randrange(len(nodes) + 1), self._nest(top, policy))

    def _spoil_octets(self, payload: bytes) -> bytes:
        dice, octets = self._dice, bytearray(payload)
        what = dice.randrange(3)
        if what == 0:
            return bytes(octets[: dice.randrange(len(octets) + 1)])
        if what == 1:
            return payload + dice.randbytes(dice.choice((1, 3, 4, 64)))
        for _ in range(dice.randint(1, 8)):
            octets[dice.randrange(len(octets))] = dice.randrange(256)
        return bytes(octets)

    _spoilers: Sequence[Callable[[Grammar, list[Node]], None]] = (
        _drop,
        _repeat,
        _renumber,
        _reflag,
        _resize,
        _revalue,
        _lie,
        _nest_wrongly,
        _swap,
        _stranger,
    )
