"""What a client lets a server push: bundles put together, filters applied. PURE.

Source: OpenVPN ``push.c`` (process_incoming_push_reply), ``options.c`` (apply_pull_filter),
``init.c`` (pull_permission_mask).
"""

from __future__ import annotations

from collections.abc import Iterable

from ovpn6.config.schema import ClientConfig
from ovpn6.model.errors import PeerError
from ovpn6.model.records import dataclass
from ovpn6.protocol.messages import PushReply

NOT_WITH_ROUTE_NOPULL = frozenset(
    (
        "route",
        "route-ipv6",
        "route-metric",
        "redirect-gateway",
        "redirect-private",
        "block-ipv6",
        "block-outside-dns",
        "register-dns",
        "dhcp-option",
        "dns",
    )
)
"""Options about routes and name servers, which ``route-nopull`` leaves out."""

MAX_PUSH_OCTETS = 256 * 1024
"""All bundles of one push together; far above 8,192 routes of 30 octets."""

MAX_PUSH_OPTIONS = 10_000
"""Likewise in number: options of one octet each would keep us busy for a minute."""

MAX_NOTICES = 50
"""Lines that the options of one push may have us log."""

_SECRET_OPTIONS = ("auth-token",)


class PushRefused(PeerError):
    """This push cannot be lived with: end the session and try again."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """The options that are left, and what to log about the others."""

    options: tuple[str, ...]
    notices: tuple[str, ...]


class PushAssembly:
    """Collects the bundles of one push."""

    def __init__(self) -> None:
        self._options: list[str] = []
        self._octets = 0

    def take(self, reply: PushReply) -> tuple[str, ...] | None:
        """All options once the last bundle is here, else None. Raises ``PushRefused`` when it is
        too much."""
        self._octets += sum(len(option) for option in reply.options)
        number = len(self._options) + len(reply.options)
        if self._octets > MAX_PUSH_OCTETS or number > MAX_PUSH_OPTIONS:
            raise PushRefused("the server pushes without end")
        self._options += reply.options
        if reply.continues:
            return None
        options, self._options, self._octets = tuple(self._options), [], 0
        return options


def pull(options: Iterable[str], client: ClientConfig) -> Pulled:
    """Apply ``pull-filter`` and ``route-nopull``. Raises ``PushRefused`` for a rejected option."""
    kept: list[str] = []
    notices: list[str] = []
    for option in options:
        text = option.lstrip()
        action = _filter(text, client)
        if action == "reject":
            raise PushRefused(f"Pushed option rejected by filter: '{masked(text)}'")
        if action == "ignore":
            notices.append(f"Pushed option removed by filter: '{masked(text)}'")
        elif client.route_nopull and text.partition(" ")[0] in NOT_WITH_ROUTE_NOPULL:
            notices.append(f"Pushed option left out by route-nopull: '{text}'")
        else:
            kept.append(text)
    return Pulled(tuple(kept), tuple(notices))


def first_notices(notices: tuple[str, ...]) -> tuple[str, ...]:
    """What is logged of the notices about one push."""
    left_out = len(notices) - MAX_NOTICES
    if left_out <= 0:
        return notices
    return (*notices[:MAX_NOTICES], f"and {left_out} more like these")


def masked(option: str) -> str:
    """The option without what is secret in it, for a log line."""
    name, space, _ = option.partition(" ")
    return f"{name} [...]" if space and name in _SECRET_OPTIONS else option


def _filter(option: str, client: ClientConfig) -> str:
    """What the first filter that fits says, ``accept`` without one."""
    for candidate in client.pull_filters:
        if option.startswith(candidate.prefix):
            return candidate.action
    return "accept"
