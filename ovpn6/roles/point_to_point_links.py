"""The sockets of one of two equal ends: its own, and TCP connections that came to it. PURE."""

from __future__ import annotations

from ovpn6.config.schema import Remote
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.flow import Action, CloseLink
from ovpn6.model.names import Instant, LinkId
from ovpn6.model.records import dataclass

MOST_WAITING = 4
"""TCP connections that may be there without having shown anything."""


@dataclass(frozen=True, slots=True)
class Place:
    """Our own socket: ``entry`` describes it, ``endpoint`` is whom it is for, None for anybody."""

    entry: Remote
    endpoint: Endpoint | None
    link: LinkId


class Links:
    """What is open. ``place`` is None between two attempts."""

    def __init__(self) -> None:
        self.place: Place | None = None
        self._last = LinkId(0)
        self._is_open = False
        self._came: dict[LinkId, Instant] = {}
        """TCP connections, with the end of their patience."""

    def take_place(self, entry: Remote, endpoint: Endpoint | None) -> Place:
        """A new socket of our own is about to be opened."""
        self._last = LinkId(self._last + 1)
        self.place = Place(entry, endpoint, self._last)
        self._is_open = True
        return self.place

    def knows(self, link: LinkId) -> bool:
        """Our own or one that came."""
        return (self.place is not None and self.place.link == link) or link in self._came

    def came(self, link: LinkId, patience_ends: Instant) -> bool:
        """A TCP connection; False when there is no room for it."""
        if len(self._came) >= MOST_WAITING:
            return False
        self._came[link] = patience_ends
        return True

    def lost(self, link: LinkId) -> None:
        """It is closed already."""
        self._came.pop(link, None)
        if self.place is not None and self.place.link == link:
            self._is_open = False

    def leave(self, path: Path) -> list[Action]:
        """Close what came on a session's path; our own socket stays."""
        return [CloseLink(path.link)] if self._came.pop(path.link, None) is not None else []

    def impatient(self, used: set[LinkId], now: Instant) -> list[Action]:
        """Close what came and never became a session."""
        over = [link for link, end in self._came.items() if now >= end and link not in used]
        for link in over:
            del self._came[link]
        return [CloseLink(link) for link in over]

    def next_deadline(self, used: set[LinkId]) -> Instant | None:
        """When :meth:`impatient` is wanted."""
        return min((end for link, end in self._came.items() if link not in used), default=None)

    def close(self) -> list[Action]:
        """All of them."""
        links = list(self._came)
        if self.place is not None and self._is_open:
            links.append(self.place.link)
        self._came.clear()
        self.place, self._is_open = None, False
        return [CloseLink(link) for link in links]
