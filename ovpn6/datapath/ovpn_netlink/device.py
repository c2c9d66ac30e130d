"""Typed requests to one device in the kernel. Errors are ``HostError`` with the kernel's text."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ovpn6.datapath.ovpn_netlink.family import Family
from ovpn6.datapath.ovpn_netlink.messages import VERSION, Command
from ovpn6.datapath.ovpn_netlink.records import (
    CODEC,
    Attributes,
    KeyState,
    PeerOrder,
    PeerState,
    decode_key,
    decode_peer,
    decode_prefix,
    encode_key,
    encode_peer,
    encode_prefix,
    name_key,
)
from ovpn6.model.addresses import IPNetwork
from ovpn6.model.errors import HostError
from ovpn6.model.names import KeySlot, PeerId
from ovpn6.model.specs import KeyMaterial
from ovpn6.netlink.conversation import DUMP, Conversation


class OvpnDevice:
    """Peers and keys of one device.

    ``conversation`` is generic netlink in the device's network namespace, ``index`` the device's
    number there. The descriptor of a new peer's socket is looked up in our own process, whatever
    namespace the socket is of; the peer goes when that socket is closed.
    """

    def __init__(self, conversation: Conversation, family: Family, index: int) -> None:
        self._conversation = conversation
        self._family = family
        self.index = index

    def new_peer(self, order: PeerOrder, socket: int) -> None:
        """EEXIST: the id is taken; EADDRINUSE: another peer has the address in the tunnel."""
        attributes = encode_peer(order, socket)
        self._request(f"add peer {order.peer}", Command.PEER_NEW, {"OVPN_A_PEER": attributes})

    def set_peer(self, order: PeerOrder) -> None:
        """Change what the order names. ENOENT: no such peer."""
        attributes = encode_peer(order)
        self._request(f"change peer {order.peer}", Command.PEER_SET, {"OVPN_A_PEER": attributes})

    def peer(self, peer: PeerId) -> PeerState | None:
        """None when there is no such peer."""
        nest = encode_peer(PeerOrder(peer))
        try:
            answers = self._request(f"read peer {peer}", Command.PEER_GET, {"OVPN_A_PEER": nest})
        except HostError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return decode_peer(answers[0])

    def peers(self) -> list[PeerState]:
        """All of them: one dump."""
        answers = self._request("read peers", Command.PEER_GET, {}, DUMP)
        return [decode_peer(answer) for answer in answers]

    def delete_peer(self, peer: PeerId) -> None:
        """Nothing happens when there is no such peer."""
        with _forgiving():
            nest = encode_peer(PeerOrder(peer))
            self._request(f"remove peer {peer}", Command.PEER_DEL, {"OVPN_A_PEER": nest})

    def new_key(self, peer: PeerId, slot: KeySlot, key: KeyMaterial) -> None:
        """Over what is in the slot; packet ids begin at 1."""
        nest = encode_key(peer, slot, key)
        self._request(
            f"install key {key.key_id} of peer {peer}", Command.KEY_NEW, {"OVPN_A_KEYCONF": nest}
        )

    def key(self, peer: PeerId, slot: KeySlot) -> KeyState | None:
        """None when the slot is empty, or there is no such peer."""
        nest = name_key(peer, slot)
        try:
            answers = self._request(
                f"read a key of peer {peer}", Command.KEY_GET, {"OVPN_A_KEYCONF": nest}
            )
        except HostError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return decode_key(answers[0])

    def swap_keys(self, peer: PeerId) -> None:
        """PRIMARY and SECONDARY change places."""
        nest = name_key(peer)
        self._request(f"swap the keys of peer {peer}", Command.KEY_SWAP, {"OVPN_A_KEYCONF": nest})

    def delete_key(self, peer: PeerId, slot: KeySlot) -> None:
        """Nothing happens when the slot is empty."""
        with _forgiving():
            nest = name_key(peer, slot)
            self._request(f"remove a key of peer {peer}", Command.KEY_DEL, {"OVPN_A_KEYCONF": nest})

    def new_prefix(self, peer: PeerId, network: IPNetwork) -> None:
        """A network is behind this peer from now on, and behind no other. Only ``ovpn6`` can.

        EADDRINUSE: it is another peer's own address; ENOSPC: the peer has too many.
        """
        nest = encode_prefix(peer, network)
        operation = f"lead {network} to peer {peer}"
        self._request(operation, Command.PREFIX_NEW, {"OVPN_A_PREFIX": nest})

    def delete_prefix(self, peer: PeerId, network: IPNetwork) -> None:
        """Nothing happens when it is not behind this peer. Only ``ovpn6`` can."""
        with _forgiving():
            nest = encode_prefix(peer, network)
            operation = f"lead {network} to peer {peer} no more"
            self._request(operation, Command.PREFIX_DEL, {"OVPN_A_PREFIX": nest})

    def prefixes(self) -> list[tuple[PeerId, IPNetwork]]:
        """All networks behind peers, without the peers' own addresses. Only ``ovpn6`` can."""
        answers = self._request("read prefixes", Command.PREFIX_GET, {}, DUMP)
        return [decode_prefix(answer) for answer in answers]

    def close(self) -> None:
        """End the conversation; the device stays."""
        self._conversation.close()

    def _request(
        self, operation: str, command: Command, attributes: Attributes, flags: int = 0
    ) -> list[Any]:
        # The order matters for nothing, but a dump must hold the index alone.
        return self._conversation.request(
            operation,
            self._family.number,
            CODEC,
            {"cmd": int(command), "version": VERSION},
            {"OVPN_A_IFINDEX": self.index, **attributes},
            flags,
        )


@contextmanager
def _forgiving() -> Iterator[None]:
    """What is gone already needs no removing."""
    try:
        yield
    except HostError as error:
        if error.errno != errno.ENOENT:
            raise
