"""Is the family (``ovpn`` or ``ovpn6``) there, under which numbers, and what does it know?

Source: ``linux/genetlink.h``; asking for a family that is missing makes the kernel look for a
module of the alias ``net-pf-16-proto-16-family-`` and its name.
"""

from __future__ import annotations

import errno
import re
from typing import Any

from ovpn6.datapath.ovpn_netlink.messages import FAMILY, GROUP, VERSION, Command, ovpnmsg
from ovpn6.model.errors import HostError
from ovpn6.model.records import dataclass
from ovpn6.netlink.conversation import DUMP, Conversation
from ovpn6.netlink.parts import ctrlmsg

_CONTROL = 16
_GET_FAMILY, _GET_POLICY = 3, 10
_TX_ID = 24
_INDEX = re.compile(r"\((\d+)\)")


@dataclass(frozen=True, slots=True)
class Family:
    """Numbers of this boot. ``floats``: the kernel tells when a peer moved, takes ``TX_ID`` and an
    IPv6 scope; older ones (6.16 to 6.19) do none of it."""

    number: int
    group: int
    floats: bool


def find_family(conversation: Conversation, name: str = FAMILY) -> Family | None:
    """None when the kernel has no family of this name. Raises ``HostError``."""
    try:
        (answer,) = conversation.request(
            f"look for the netlink family {name}",
            _CONTROL,
            ctrlmsg,
            {"cmd": _GET_FAMILY, "version": 1},
            {"CTRL_ATTR_FAMILY_NAME": name},
        )
    except HostError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    said = dict(answer["attrs"])
    groups = [dict(group["attrs"]) for group in said.get("CTRL_ATTR_MCAST_GROUPS", ())]
    numbers = {
        group["CTRL_ATTR_MCAST_GRP_NAME"]: group["CTRL_ATTR_MCAST_GRP_ID"] for group in groups
    }
    if GROUP not in numbers:
        raise HostError(f"use the netlink family {name}", f"no group {GROUP}", errno.EPROTO)
    number = said["CTRL_ATTR_FAMILY_ID"]
    return Family(number, numbers[GROUP], _largest_attribute(conversation, number) >= _TX_ID)


def check_permission(conversation: Conversation, family: Family) -> None:
    """Raises ``HostError`` EPERM when we may not use it: a request that would fail anyway."""
    try:
        conversation.request(
            "use the ovpn module",
            family.number,
            ovpnmsg,
            {"cmd": Command.PEER_GET, "version": VERSION},
        )
    except HostError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            raise


def _largest_attribute(conversation: Conversation, family: int) -> int:
    """The highest attribute number in any of the family's nests, by its policies."""
    try:
        answers = conversation.request(
            "read the policies of a netlink family",
            _CONTROL,
            ctrlmsg,
            {"cmd": _GET_POLICY, "version": 1},
            {"CTRL_ATTR_FAMILY_ID": family},
            DUMP,
        )
    except HostError:
        return 0
    return max((number for answer in answers for number in _attribute_numbers(answer)), default=0)


def _attribute_numbers(answer: Any) -> list[int]:
    found = []
    for name, policies in answer["attrs"]:
        if name != "CTRL_ATTR_POLICY":
            continue
        for _, attributes in policies["attrs"]:
            found += [_number(attribute[0]) for attribute in attributes["attrs"]]
    return found


def _number(name: str) -> int:
    """``ATTR(24)`` in pyroute2's words."""
    found = _INDEX.search(name)
    return int(found[1]) if found else 0
