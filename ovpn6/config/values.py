"""Parsers of single words: each takes the word as written and gives a value or ``ConfigError``.

The errors carry no source; who reads the directive adds it. No files, no host names looked up.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
)
from typing import TypeVar

from ovpn6.model.addresses import IPAddress
from ovpn6.model.errors import ConfigError
from ovpn6.model.names import Family, Transport
from ovpn6.model.records import dataclass

T = TypeVar("T")
Parser = Callable[[str], T]


@dataclass(frozen=True, slots=True)
class Proto:
    """The word of ``proto``: ``side`` is ``server`` or ``client`` where TCP's word says it."""

    transport: Transport
    family: Family = Family.ANY
    side: str = ""


# --- numbers and words --------------------------------------------------------------------------


def integer(low: int, high: int = 0x7FFFFFFF) -> Parser[int]:
    """A parser of decimal numbers in ``low`` to ``high``, both allowed."""

    def parse(word: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", word):
            raise ConfigError(f"{word!r} is not a whole number")
        value = int(word)
        if not low <= value <= high:
            limits = f"from {low} to {high}" if high < 0x7FFFFFFF else f"{low} or more"
            raise ConfigError(f"{value} is out of range", advice=f"use a number {limits}")
        return value

    return parse


def word(text: str) -> str:
    """Any non-empty word."""
    if not text:
        raise ConfigError("an empty word is not a value")
    return text


def one_of(*choices: str) -> Parser[str]:
    """A parser of one of a few words."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ConfigError(f"{text!r} is not known here", advice=f"use {_either(choices)}")
        return text

    return parse


port = integer(1, 65535)
"""A port number; service names are not looked up."""


def key_direction(text: str) -> int:
    """0 or 1."""
    return int(one_of("0", "1")(text))


# --- addresses ----------------------------------------------------------------------------------


def address(text: str) -> IPAddress:
    """An address of either family."""
    try:
        return ip_address(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not an IP address") from None


def ipv4_address(text: str) -> IPv4Address:
    """A dotted quad."""
    try:
        return IPv4Address(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not an IPv4 address") from None


def ipv6_address(text: str) -> IPv6Address:
    """An IPv6 address; a trailing prefix length, which OpenVPN permits, is dropped."""
    try:
        return IPv6Address(text.split("/")[0])
    except ValueError:
        raise ConfigError(f"{text!r} is not an IPv6 address") from None


def netmask(text: str) -> int:
    """The prefix length that a dotted IPv4 netmask stands for."""
    bits = int(ipv4_address(text))
    length = bits.bit_count()
    if bits != (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF:
        advice = "the one bits stand left, as in 255.255.255.0"
        raise ConfigError(f"{text!r} is not a netmask", advice=advice)
    return length


def ipv4_network(network: str, mask: str = "255.255.255.255") -> IPv4Network:
    """``network mask`` with no bits outside of the mask."""
    length = netmask(mask)
    first = ipv4_address(network)
    found = IPv4Network((first, length), strict=False)
    if found.network_address != first:
        advice = f"write {found.network_address} {mask}"
        raise ConfigError(f"{network} has bits outside of the netmask {mask}", advice=advice)
    return found


def ipv4_interface(own: str, mask: str) -> IPv4Interface:
    """An own address and its netmask."""
    return IPv4Interface((ipv4_address(own), netmask(mask)))


def ipv6_network(text: str) -> IPv6Network:
    """``address/bits``; without bits it is one address, and bits beyond the length are dropped."""
    try:
        return IPv6Network(text, strict=False)
    except ValueError:
        advice = "write it as 2001:db8:1::/64"
        raise ConfigError(f"{text!r} is not an IPv6 network", advice=advice) from None


def ipv6_interface(text: str) -> IPv6Interface:
    """``address/bits``, both needed."""
    try:
        if "/" in text:
            return IPv6Interface(text)
    except ValueError:
        pass
    advice = "write it as 2001:db8:1::7/64"
    raise ConfigError(f"{text!r} is not an IPv6 address with prefix length", advice=advice)


def tunnel_ipv6_network(text: str) -> IPv6Network:
    """The network of ``server-ipv6``: /64 to /124, the host part zero."""
    interface = ipv6_interface(text)
    network = interface.network
    if not 64 <= network.prefixlen <= 124:
        message = f"a tunnel network of /{network.prefixlen} cannot be used"
        raise ConfigError(message, advice="use /64 to /124")
    if interface.ip != network.network_address:
        raise ConfigError(f"{text} has host bits set", advice=f"write {network}")
    return network


def pool_ipv6(text: str) -> IPv6Interface:
    """The first address of an IPv6 pool, with the tunnel's prefix length, /64 to /124."""
    interface = ipv6_interface(text)
    if not 64 <= interface.network.prefixlen <= 124:
        message = f"a pool in a /{interface.network.prefixlen} cannot be used"
        raise ConfigError(message, advice="use /64 to /124")
    return interface


def host(text: str) -> str:
    """A host name or an address, with the zone of a link-local one."""
    if not text or not re.fullmatch(r"[0-9A-Za-z_.:%@-]{1,253}", text):
        raise ConfigError(f"{text!r} is not a host name or an address")
    return text


def literal_family(text: str) -> Family:
    """The family of an address literal, ANY for a name."""
    try:
        version = ip_address(text).version
    except ValueError:
        return Family.ANY
    return Family.IPV6 if version == 6 else Family.IPV4


# --- proto --------------------------------------------------------------------------------------

_FAMILIES = {"": Family.ANY, "4": Family.IPV4, "6": Family.IPV6}

PROTOS: dict[str, Proto] = {
    f"{transport.value}{digit}{f'-{side}' if side else ''}": Proto(transport, family, side)
    for transport in Transport
    for digit, family in _FAMILIES.items()
    for side in ("", "server", "client")
    if transport is Transport.TCP or not side
}


def proto(text: str) -> Proto:
    """``udp``, ``tcp6-client`` and their like."""
    found = PROTOS.get(text)
    if found is None:
        raise ConfigError(f"{text!r} is not a protocol", advice=f"use {_either(tuple(PROTOS))}")
    return found


# --- names --------------------------------------------------------------------------------------


def interface_name(text: str) -> str:
    """A Linux interface name: 1 to 15 bytes, no slash, no space."""
    if not 1 <= len(text.encode()) <= 15 or re.search(r"[/\s:]", text) or text in (".", ".."):
        advice = "use 1 to 15 bytes without slash, colon or space"
        raise ConfigError(f"{text!r} is not an interface name", advice=advice)
    return text


def netns_name(text: str) -> str:
    """A network namespace's name, as ``ip netns`` lists it."""
    if not text or "/" in text or text in (".", "..") or len(text) > 255:
        advice = "give a name that `ip netns` lists"
        raise ConfigError(f"{text!r} is not the name of a namespace", advice=advice)
    return text


def variable_name(text: str) -> str:
    """The name of an environment variable."""
    if not re.fullmatch(r"[A-Za-z0-9_]+", text):
        advice = "use letters, digits and underscores"
        raise ConfigError(f"{text!r} is not the name of a variable", advice=advice)
    return text


def sha256_fingerprint(text: str) -> str:
    """A SHA-256 fingerprint, with or without colons, as 64 lower-case hex digits."""
    digits = text.replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        advice = "give 32 bytes in hex, as `openssl x509 -fingerprint -sha256 -noout` prints"
        raise ConfigError(f"{text!r} is not a SHA-256 fingerprint", advice=advice)
    return digits


def key_usage(text: str) -> int:
    """A key-usage mask in hex."""
    if not re.fullmatch(r"(0x)?[0-9A-Fa-f]{1,4}", text):
        raise ConfigError(f"{text!r} is not a key-usage mask", advice="give hex, as in a0 88")
    return int(text, 16)


def _either(choices: tuple[str, ...]) -> str:
    if len(choices) == 1:
        return choices[0]
    return f"{', '.join(choices[:-1])} or {choices[-1]}"
