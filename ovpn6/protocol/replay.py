"""Replay ids of wrapped control packets: a 32-bit counter with a 32-bit time. PURE.

Source: OpenVPN ``packet_id.c``, long form. The time is set once, by the first packet of a
sender, and orders whole series: a later time begins a new one, an earlier one is refused. Within a
series the counter rises from 1; 0 is never valid.

The data channel has a window of its own (``data_channel.py``): short ids, no time, hot path.
"""

from __future__ import annotations

from ovpn6.model.errors import PeerError, UsageError
from ovpn6.model.names import Instant
from ovpn6.model.records import dataclass

REPLAY_ID_SIZE = 8
REPLAY_WINDOW = 64
"""How many ids a packet may lag behind the highest seen (``--replay-window``)."""
REPLAY_SECONDS = 15
"""A packet is refused when one sent after it arrived more seconds ago than this."""

_MAX = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class ReplayId:
    """``counter`` 1 to 2**32 - 1, ``time`` in Unix seconds modulo 2**32."""

    counter: int
    time: int

    def encode(self) -> bytes:
        """Eight bytes, counter first, network order."""
        return self.counter.to_bytes(4, "big") + self.time.to_bytes(4, "big")


def decode_replay_id(data: bytes) -> ReplayId:
    """The id in exactly eight bytes."""
    if len(data) != REPLAY_ID_SIZE:
        raise PeerError("packet ends inside its replay id")
    return ReplayId(int.from_bytes(data[:4], "big"), int.from_bytes(data[4:], "big"))


class ReplaySender:
    """Numbers what we send. ``wall_offset`` + now is Unix time."""

    def __init__(self, *, wall_offset: float, first_id: int = 1) -> None:
        if not 1 <= first_id <= _MAX:
            raise UsageError(f"{first_id} cannot be a replay id")
        self._wall_offset = wall_offset
        self._next = first_id
        self._time: int | None = None

    def take(self, now: Instant) -> ReplayId:
        """The next id; the counter may only roll over into a later second."""
        if self._time is None:
            self._time = self._wall(now)
        if self._next > _MAX:
            if self._wall(now) <= self._time:
                raise UsageError("replay ids used up within one second")
            self._time = self._wall(now)
            self._next = 1
        taken = ReplayId(self._next, self._time)
        self._next += 1
        return taken

    def _wall(self, now: Instant) -> int:
        return int(now + self._wall_offset) & _MAX


class ReplayFilter:
    """Accepts each id once. Ask it only about authentic packets: an answer changes its state.

    Over UDP packets may come out of order within a window of ids and of seconds. With
    ``strict_order`` (TCP) each id follows the one before. The first id may be any: a third packet
    of a handshake carries 2, a tls-crypt-v2 client begins at 0x0f000001.
    """

    def __init__(self, *, strict_order: bool) -> None:
        self._strict_order = strict_order
        self._newest: ReplayId | None = None
        self._seen: dict[int, Instant] = {}
        """Arrival of each id of the current series that is still inside the window."""

    def accept(self, replay_id: ReplayId, now: Instant) -> None:
        """Take note of an id. Raises ``PeerError`` for a replay, with nothing changed."""
        if replay_id.counter == 0:
            raise PeerError("replay id 0")
        newest = self._newest
        if newest is not None and replay_id.time < newest.time:
            raise PeerError("replay id from an earlier series")
        if newest is None or replay_id.time > newest.time:
            self._check_beginning(replay_id)
            self._seen.clear()
        elif self._strict_order:
            if replay_id.counter != newest.counter + 1:
                raise PeerError("replay id out of order")
        elif replay_id.counter <= newest.counter:
            self._check_window(replay_id.counter, newest.counter, now)
            self._seen[replay_id.counter] = now
            return
        self._newest = replay_id
        self._remember(replay_id.counter, now)

    def _check_beginning(self, replay_id: ReplayId) -> None:
        """A later time begins at 1 after a roll-over. It may also go on counting: a stateless
        server takes the time anew between its hello, id 1, and its next packet, id 2."""
        newest = self._newest
        if newest is None or not self._strict_order:
            return
        if replay_id.counter not in (1, newest.counter + 1):
            raise PeerError("replay id out of order")

    def _check_window(self, counter: int, highest: int, now: Instant) -> None:
        if counter <= highest - REPLAY_WINDOW:
            raise PeerError("replay id behind the window")
        if counter in self._seen:
            raise PeerError("replayed packet")
        for later, arrival in self._seen.items():
            if later > counter and arrival + REPLAY_SECONDS < now:
                raise PeerError("replay id too late")

    def _remember(self, counter: int, now: Instant) -> None:
        if self._strict_order:
            return
        floor = counter - REPLAY_WINDOW
        self._seen = {seen: at for seen, at in self._seen.items() if seen > floor}
        self._seen[counter] = now
