"""What one client is told in PUSH_REPLY, in order. PURE.

Source: OpenVPN ``push.c`` (prepare_push_reply, push_remove_option,
remove_iroutes_from_push_route_list), ``helper.c``, ``multi.c``
(multi_client_connect_compress_migrate).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

from ovpn6.config.schema import PeerConfig
from ovpn6.model.addresses import IPNetwork
from ovpn6.model.names import PeerId
from ovpn6.model.records import dataclass
from ovpn6.model.secrets import SecretBytes
from ovpn6.model.specs import DataFormat, Framing
from ovpn6.protocol.messages import PUSH_BUNDLE_SIZE, PUSH_BUNDLE_SPARE
from ovpn6.protocol.negotiation_rules import PeerCapabilities


@dataclass(frozen=True, slots=True)
class PushFacts:
    """What the options of one client depend on. The first two are the server's own addresses,
    ``ipv4`` and ``ipv6`` the client's; ``compression`` is an option or ""."""

    server_ipv4: IPv4Interface | None
    server_ipv6: IPv6Interface | None
    ipv4: IPv4Interface | None
    ipv6: IPv6Interface | None
    peer: PeerId
    cipher: str
    capabilities: PeerCapabilities
    tun_mtu: int
    data_format: DataFormat = DataFormat.CLASSIC
    token: SecretBytes | None = None
    compression: str = ""
    copy_ecn: bool = False
    numbered_probes: bool = False


def push_options(pushes: Iterable[str], config: PeerConfig, facts: PushFacts) -> list[str]:
    """Every option for a client, ready for ``messages.push_replies``.

    ``pushes`` is the server's own list; ``config`` adds to it and takes from it. What could not be
    sent (see :func:`is_pushable`) must have been left out before.
    """
    inherited = [] if config.push_reset else list(pushes)
    given = {option.split(" ", 1)[0] for option in (*inherited, *config.push)}
    options = [option for option in _always(facts) if option.split(" ", 1)[0] not in given]
    options = [
        option
        for option in (*options, *inherited)
        if not any(option.startswith(prefix) for prefix in config.push_remove)
    ]
    options += config.push
    options = [option for option in options if _pushed_route(option) not in config.iroutes]
    return options + [
        option for option in _own(facts) if option.split(" ", 1)[0] not in config.push_remove
    ]


def is_pushable(option: str) -> bool:
    """Whether an option can stand in a PUSH_REPLY at all: the list has no escape for a comma."""
    longest = PUSH_BUNDLE_SIZE - PUSH_BUNDLE_SPARE - len("PUSH_REPLY") - 1
    return "," not in option and option.isprintable() and 0 < len(option.encode()) <= longest


def pushed_mtu(tun_mtu: int, capabilities: PeerCapabilities) -> int | None:
    """The MTU to push: ours, but not above what the client takes; None when it takes none."""
    return None if capabilities.mtu is None else min(tun_mtu, capabilities.mtu)


@dataclass(frozen=True, slots=True)
class Compression:
    """How to serve a client that announces compression. ``refusal``: why it cannot be."""

    framing: Framing = Framing.NONE
    push: str = ""
    refusal: str = ""


def settle_compression(
    capabilities: PeerCapabilities, framings: frozenset[Framing], *, stub: bool, migrate: bool
) -> Compression:
    """Agree on what stands before inner packets; packets are never really compressed.

    ``stub``: our own ``comp-lzo no``, for every client. ``migrate``: tell a client that announces
    compression to stop, in words that it understands.
    """
    if stub:
        if Framing.STUB not in framings:
            return Compression(refusal="the data path has no compression stub")
        return Compression(Framing.STUB)
    if not capabilities.comp_lzo:
        return Compression()
    if not migrate:
        return Compression(refusal="client uses compression and this server does not")
    if capabilities.comp_stub_v2:
        framing = Framing.STUB_V2 if Framing.STUB_V2 in framings else Framing.NONE
        return Compression(framing, "compress stub-v2")
    if Framing.STUB not in framings:
        return Compression(refusal="client needs a compression stub, which the data path lacks")
    return Compression(Framing.STUB, "comp-lzo no")


def _always(facts: PushFacts) -> list[str]:
    """What ``server`` and ``server-ipv6`` imply, unless something else says the same.

    ``topology subnet`` goes to clients without IPv4 too: kernel data paths demand it.
    """
    options = ["topology subnet"]
    if facts.server_ipv4 is not None and facts.ipv4 is not None:
        options.append(f"route-gateway {facts.server_ipv4.ip}")
    return options


def _own(facts: PushFacts) -> list[str]:
    capabilities = facts.capabilities
    options: list[str] = []
    if facts.ipv6 is not None:
        gateway = f" {facts.server_ipv6.ip}" if facts.server_ipv6 is not None else ""
        options.append(f"ifconfig-ipv6 {facts.ipv6}{gateway}")
    if facts.ipv4 is not None:
        options.append(f"ifconfig {facts.ipv4.ip} {facts.ipv4.netmask}")
    options.append(f"peer-id {facts.peer}")
    if facts.token is not None:
        options.append(auth_token_option(facts.token))
    if capabilities.negotiates_ciphers:
        options.append(f"cipher {facts.cipher}")
    if facts.compression:
        options.append(facts.compression)
    if facts.copy_ecn:
        options.append("ecn-marks")
    if facts.numbered_probes:
        options.append("numbered-probes")
    options += _protocol_flags(capabilities, facts.data_format)
    mtu = pushed_mtu(facts.tun_mtu, capabilities)
    if mtu is not None:
        options.append(f"tun-mtu {mtu}")
    return options


def auth_token_option(token: SecretBytes) -> str:
    """The one option whose value must never be logged."""
    return f"auth-token {token.reveal().decode()}"


def _protocol_flags(capabilities: PeerCapabilities, data_format: DataFormat) -> list[str]:
    """A client that knows ``cc-exit`` knows ``tls-ekm`` as a flag too; an older one has an option
    for it."""
    options: list[str] = []
    flags: list[str] = []
    if capabilities.exit_notify:
        flags.append("cc-exit")
    if capabilities.ekm and capabilities.exit_notify:
        flags.append("tls-ekm")
    elif capabilities.ekm:
        options.append("key-derivation tls-ekm")
    if capabilities.dyn_tls_crypt:
        flags.append("dyn-tls-crypt")
    if data_format is DataFormat.EPOCH:
        flags.append("aead-epoch")
    if flags:
        options.append(f"protocol-flags {' '.join(flags)}")
    return options


def _pushed_route(option: str) -> IPNetwork | None:
    """The network of a pushed route without gateway: a client must not get its own LAN back."""
    words = option.split()
    try:
        if words[:1] == ["route-ipv6"] and len(words) == 2:
            return IPv6Network(words[1], strict=False)
        if words[:1] == ["route"] and len(words) in (2, 3):
            mask = words[2] if len(words) == 3 else "255.255.255.255"
            return IPv4Network((int(IPv4Address(words[1])), mask), strict=False)
    except ValueError:
        return None
    return None
