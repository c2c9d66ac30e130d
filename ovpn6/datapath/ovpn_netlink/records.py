"""Peers, keys and notifications as plain values, to and from attributes of ``ovpnmsg``. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from ovpn6.datapath.ovpn_netlink.messages import Command, DeleteReason, ovpnmsg
from ovpn6.model.addresses import Endpoint, IPAddress, IPNetwork, unmapped
from ovpn6.model.ciphers import CIPHERS
from ovpn6.model.names import KeyId, KeySlot, PeerId
from ovpn6.model.records import dataclass
from ovpn6.model.secrets import SecretBytes
from ovpn6.model.specs import Keepalive, KeyMaterial, PeerCounters
from ovpn6.netlink.codec import Codec

Attributes = dict[str, Any]

SLOTS = {KeySlot.PRIMARY: 0, KeySlot.SECONDARY: 1}
"""``enum ovpn_key_slot``."""

CODEC = Codec(ovpnmsg)

_REMOTE = {4: "OVPN_A_PEER_REMOTE_IPV4", 6: "OVPN_A_PEER_REMOTE_IPV6"}
_PREFIX = {4: "OVPN_A_PREFIX_IPV4", 6: "OVPN_A_PREFIX_IPV6"}
_LOCAL = {4: "OVPN_A_PEER_LOCAL_IPV4", 6: "OVPN_A_PEER_LOCAL_IPV6"}


@dataclass(frozen=True, slots=True)
class PeerOrder:
    """What a ``PEER_NEW`` or ``PEER_SET`` says. None leaves a thing as it is.

    ``remote`` only for UDP; ``vpn_ipv4``, ``vpn_ipv6`` only on a device with many peers;
    ``tx_id`` only when it differs from ``peer`` (and not before Linux 7.0).
    """

    peer: PeerId
    remote: Endpoint | None = None
    local: IPAddress | None = None
    vpn_ipv4: IPv4Address | None = None
    vpn_ipv6: IPv6Address | None = None
    keepalive: Keepalive | None = None
    tx_id: int | None = None


@dataclass(frozen=True, slots=True)
class PeerState:
    """What the kernel says of a peer. ``remote`` is None for TCP."""

    peer: PeerId
    remote: Endpoint | None
    local: IPAddress | None
    vpn_ipv4: IPv4Address | None
    vpn_ipv6: IPv6Address | None
    keepalive: Keepalive
    counters: PeerCounters
    tx_id: int | None = None


@dataclass(frozen=True, slots=True)
class KeyState:
    """What the kernel says of a key; never the key. ``algorithm``: ``Cipher.netlink_id``."""

    peer: PeerId
    slot: KeySlot
    key_id: KeyId
    algorithm: int


@dataclass(frozen=True, slots=True)
class PeerDeleted:
    """The kernel has removed a peer. ``reason`` may be one that we have no word for."""

    index: int
    peer: PeerId
    reason: DeleteReason | int


@dataclass(frozen=True, slots=True)
class KeyUsedUp:
    """A key has sealed 2^32 packets; the kernel has removed it."""

    index: int
    peer: PeerId
    key_id: KeyId


@dataclass(frozen=True, slots=True)
class PeerMoved:
    """An authentic packet came from another address, which the kernel sends to from now on."""

    index: int
    peer: PeerId
    remote: Endpoint


Notification = PeerDeleted | KeyUsedUp | PeerMoved
"""``index`` is the device's, in *its* network namespace: in ours it may be another device."""


def encode_peer(order: PeerOrder, socket: int | None = None) -> Attributes:
    """``OVPN_A_PEER``. ``socket``: the descriptor that a new peer sends through."""
    said: Attributes = {"OVPN_A_PEER_ID": order.peer}
    if order.remote is not None:
        said |= _remote(order.remote)
    said["OVPN_A_PEER_SOCKET"] = socket
    said["OVPN_A_PEER_VPN_IPV4"] = order.vpn_ipv4
    said["OVPN_A_PEER_VPN_IPV6"] = order.vpn_ipv6
    if order.local is not None:
        said[_LOCAL[order.local.version]] = order.local
    if order.keepalive is not None:
        said["OVPN_A_PEER_KEEPALIVE_INTERVAL"] = order.keepalive.interval
        said["OVPN_A_PEER_KEEPALIVE_TIMEOUT"] = order.keepalive.timeout
    said["OVPN_A_PEER_TX_ID"] = order.tx_id
    return _nest(said)


def decode_peer(message: Mapping[str, Any]) -> PeerState:
    """Of an answer to ``PEER_GET``. Raises ``ValueError``."""
    said = _inside(message, "OVPN_A_PEER")
    ipv4, ipv6 = said.get("OVPN_A_PEER_VPN_IPV4"), said.get("OVPN_A_PEER_VPN_IPV6")
    local = said.get("OVPN_A_PEER_LOCAL_IPV4") or said.get("OVPN_A_PEER_LOCAL_IPV6")
    return PeerState(
        peer=PeerId(_needed(said, "OVPN_A_PEER_ID")),
        remote=_endpoint(said),
        local=unmapped(ip_address(local)) if local else None,
        vpn_ipv4=IPv4Address(ipv4) if ipv4 else None,
        vpn_ipv6=IPv6Address(ipv6) if ipv6 else None,
        keepalive=Keepalive(
            said.get("OVPN_A_PEER_KEEPALIVE_INTERVAL", 0),
            said.get("OVPN_A_PEER_KEEPALIVE_TIMEOUT", 0),
        ),
        counters=PeerCounters(
            link_in=said.get("OVPN_A_PEER_LINK_RX_BYTES", 0),
            link_out=said.get("OVPN_A_PEER_LINK_TX_BYTES", 0),
            bytes_in=said.get("OVPN_A_PEER_VPN_RX_BYTES", 0),
            bytes_out=said.get("OVPN_A_PEER_VPN_TX_BYTES", 0),
            packets_in=said.get("OVPN_A_PEER_VPN_RX_PACKETS", 0),
            packets_out=said.get("OVPN_A_PEER_VPN_TX_PACKETS", 0),
        ),
        tx_id=said.get("OVPN_A_PEER_TX_ID"),
    )


def encode_key(peer: PeerId, slot: KeySlot, key: KeyMaterial) -> Attributes:
    """``OVPN_A_KEYCONF`` of a ``KEY_NEW``."""
    return _nest(
        {
            "OVPN_A_KEYCONF_PEER_ID": int(peer),
            "OVPN_A_KEYCONF_SLOT": SLOTS[slot],
            "OVPN_A_KEYCONF_KEY_ID": int(key.key_id),
            "OVPN_A_KEYCONF_CIPHER_ALG": CIPHERS[key.cipher].netlink_id,
            "OVPN_A_KEYCONF_ENCRYPT_DIR": _direction(key.send_key, key.send_iv),
            "OVPN_A_KEYCONF_DECRYPT_DIR": _direction(key.receive_key, key.receive_iv),
        }
    )


def name_key(peer: PeerId, slot: KeySlot | None = None) -> Attributes:
    """``OVPN_A_KEYCONF`` that only names a slot, or all of a peer's keys (``KEY_SWAP``)."""
    number = None if slot is None else SLOTS[slot]
    return _nest({"OVPN_A_KEYCONF_PEER_ID": int(peer), "OVPN_A_KEYCONF_SLOT": number})


def decode_key(message: Mapping[str, Any]) -> KeyState:
    """Of an answer to ``KEY_GET``. Raises ``ValueError``."""
    said = _inside(message, "OVPN_A_KEYCONF")
    slot = _needed(said, "OVPN_A_KEYCONF_SLOT")
    return KeyState(
        peer=PeerId(_needed(said, "OVPN_A_KEYCONF_PEER_ID")),
        slot=KeySlot.PRIMARY if slot == SLOTS[KeySlot.PRIMARY] else KeySlot.SECONDARY,
        key_id=KeyId(_needed(said, "OVPN_A_KEYCONF_KEY_ID")),
        algorithm=_needed(said, "OVPN_A_KEYCONF_CIPHER_ALG"),
    )


def encode_prefix(peer: PeerId, network: IPNetwork) -> Attributes:
    """``OVPN_A_PREFIX``: a network behind a peer."""
    return _nest(
        {
            "OVPN_A_PREFIX_PEER_ID": int(peer),
            _PREFIX[network.version]: network.network_address,
            "OVPN_A_PREFIX_LENGTH": network.prefixlen,
        }
    )


def decode_prefix(message: Mapping[str, Any]) -> tuple[PeerId, IPNetwork]:
    """Of an answer to ``PREFIX_GET``. Raises ``ValueError``."""
    said = _inside(message, "OVPN_A_PREFIX")
    address = said.get(_PREFIX[4]) or _needed(said, _PREFIX[6])
    network = ip_network((address, _needed(said, "OVPN_A_PREFIX_LENGTH")))
    return PeerId(_needed(said, "OVPN_A_PREFIX_PEER_ID")), network


def decode_notification(packet: bytes) -> Notification | None:
    """Of one whole message; None for a command that is no notification.

    Raises ``ValueError`` when it is cut short or misses what it must hold.
    """
    message = CODEC.decode(packet)
    decode = _NOTIFICATIONS.get(message["cmd"])
    if decode is None:
        return None
    index = _needed(dict(message["attrs"]), "OVPN_A_IFINDEX")
    return decode(index, message)


def _deleted(index: int, message: Mapping[str, Any]) -> Notification:
    said = _inside(message, "OVPN_A_PEER")
    reason = _needed(said, "OVPN_A_PEER_DEL_REASON")
    known = reason in DeleteReason.__members__.values()
    return PeerDeleted(
        index,
        PeerId(_needed(said, "OVPN_A_PEER_ID")),
        DeleteReason(reason) if known else reason,
    )


def _used_up(index: int, message: Mapping[str, Any]) -> Notification:
    said = _inside(message, "OVPN_A_KEYCONF")
    key_id = KeyId(_needed(said, "OVPN_A_KEYCONF_KEY_ID"))
    return KeyUsedUp(index, PeerId(_needed(said, "OVPN_A_KEYCONF_PEER_ID")), key_id)


def _moved(index: int, message: Mapping[str, Any]) -> Notification:
    said = _inside(message, "OVPN_A_PEER")
    remote = _endpoint(said)
    if remote is None:
        raise ValueError("no address in a notification of a float")
    return PeerMoved(index, PeerId(_needed(said, "OVPN_A_PEER_ID")), remote)


_NOTIFICATIONS = {
    Command.PEER_DEL_NTF: _deleted,
    Command.KEY_SWAP_NTF: _used_up,
    Command.PEER_FLOAT_NTF: _moved,
}


def _remote(remote: Endpoint) -> Attributes:
    said: Attributes = {
        _REMOTE[remote.address.version]: remote.address,
        "OVPN_A_PEER_REMOTE_PORT": remote.port,
    }
    if remote.scope_id:
        said["OVPN_A_PEER_REMOTE_IPV6_SCOPE_ID"] = remote.scope_id
    return said


def _endpoint(said: Attributes) -> Endpoint | None:
    address = said.get("OVPN_A_PEER_REMOTE_IPV4") or said.get("OVPN_A_PEER_REMOTE_IPV6")
    port = said.get("OVPN_A_PEER_REMOTE_PORT")
    if address is None or port is None:
        return None
    scope = said.get("OVPN_A_PEER_REMOTE_IPV6_SCOPE_ID", 0)
    return Endpoint(unmapped(ip_address(address)), port, scope)


def _direction(key: SecretBytes, nonce_tail: SecretBytes) -> Attributes:
    return _nest(
        {
            "OVPN_A_KEYDIR_CIPHER_KEY": key.reveal(),
            "OVPN_A_KEYDIR_NONCE_TAIL": nonce_tail.reveal(),
        }
    )


def _nest(attributes: Attributes) -> Attributes:
    return {"attrs": [pair for pair in attributes.items() if pair[1] is not None]}


def _inside(message: Mapping[str, Any], name: str) -> Attributes:
    nest = _needed(dict(message["attrs"]), name)
    return dict(nest["attrs"])


def _needed(attributes: Attributes, name: str) -> Any:
    try:
        return attributes[name]
    except KeyError:
        raise ValueError(f"no {name}") from None
