"""The machine through every transition, over a path in virtual time."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.model.errors import UsageError
from ovpn6.model.names import Instant
from ovpn6.mtu.candidates import VOLLEY
from ovpn6.mtu.path import (
    Action,
    PathMtu,
    Phase,
    SendProbe,
    SizeChanged,
    Unanswered,
    Why,
)
from ovpn6.mtu.timing import Timing

TIMING = Timing(probe=1.0, max_probes=3, confirmation=10.0, raise_=600.0)


@dataclass
class Network:
    """A path of ``mtu`` octets that answers after ``rtt`` seconds, and the machine on it."""

    machine: PathMtu
    mtu: int
    rtt: float = 0.1
    answers: bool = True
    tells: bool = False
    """Whether a Packet Too Big comes back."""
    lose: int = 0
    """So many of the next probes are lost."""
    interface: int = 65_535
    """Longer probes are refused by the host."""
    busy_until: float = 0.0
    """Until then no probe can be made."""
    now: float = 0.0
    sent: list[tuple[float, int]] = field(default_factory=list)
    changes: list[tuple[float, int, Why]] = field(default_factory=list)
    unanswered: int = 0
    _arriving: list[tuple[float, int, int]] = field(default_factory=list)

    def start(self) -> None:
        self.carry_out(self.machine.begin(Instant(self.now)))

    def carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case SendProbe(probe, size):
                    self.sent.append((self.now, size))
                    self._send(probe, size)
                case SizeChanged(size, why):
                    self.changes.append((self.now, size, why))
                case Unanswered():
                    self.unanswered += 1

    def _send(self, probe: int, size: int) -> None:
        now = Instant(self.now)
        if self.now < self.busy_until:
            self.machine.unsent(probe, now)
        elif size > self.interface:
            self.carry_out(self.machine.too_long(probe, now))
        elif self.lose:
            self.lose -= 1
        elif size > self.mtu and self.tells:
            heapq.heappush(self._arriving, (self.now + self.rtt, -1, self.mtu))
        elif size <= self.mtu and self.answers:
            heapq.heappush(self._arriving, (self.now + self.rtt, probe, 0))

    def run(self, seconds: float) -> None:
        """Everything that happens until then."""
        end = self.now + seconds
        while True:
            deadline = self.machine.deadline
            times = [t for t in (deadline, self._arriving[0][0] if self._arriving else None) if t]
            when = min(times, default=end)
            if when > end:
                break
            self.now = max(when, self.now)
            if self._arriving and self._arriving[0][0] <= self.now:
                _, probe, size = heapq.heappop(self._arriving)
                now = Instant(self.now)
                answer = self.machine.answered(probe, now) if probe >= 0 else None
                self.carry_out(self.machine.too_big(size, now) if answer is None else answer)
            else:
                self.carry_out(self.machine.due(Instant(self.now)))
        self.now = end


def started(mtu: int = 1500, ceiling: int = 1500, **more: object) -> Network:
    network = Network(PathMtu(ceiling, TIMING), mtu, **more)  # type: ignore[arg-type]
    network.start()
    return network


def test_the_base_size_is_used_until_a_larger_one_was_answered() -> None:
    network = started()
    assert network.machine.size == 1280
    network.run(0.15)
    assert network.machine.size == 1500
    assert network.changes == [(pytest.approx(0.1), 1500, Why.PROBE)]


def test_a_path_that_carries_the_largest_size_takes_two_probes() -> None:
    network = started()
    network.run(5)
    assert network.sent == [(0.0, 1500), (0.0, 1280)]


@pytest.mark.parametrize("mtu", [1400, 1452, 1492])
def test_any_other_common_path_takes_a_few_round_trips(mtu: int) -> None:
    network = started(mtu)
    network.run(0.55)
    assert network.machine.size == mtu


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("mtu", [1280, 1281, 1296, 1352, 1400, 1452, 1480, 1492, 1499, 1500])
def test_a_search_ends_within_16_octets_of_the_path(mtu: int, tells: bool) -> None:
    network = started(mtu, tells=tells)
    network.run(30)
    report = network.machine.report()
    assert report.phase is Phase.COMPLETE
    assert mtu - 16 < report.size <= mtu


def test_a_path_of_the_base_size_is_told_once_when_nothing_larger_passed() -> None:
    network = started(1280)
    network.run(2000)
    assert [(size, why) for _, size, why in network.changes] == [(1280, Why.PROBE)]
    assert network.machine.report().why is Why.PROBE


@pytest.mark.parametrize("mtu", [1280, 1352, 1400, 1480, 1492, 1500])
def test_common_sizes_are_found_exactly(mtu: int) -> None:
    network = started(mtu)
    network.run(30)
    assert network.machine.size == mtu


def test_a_path_that_tells_is_known_within_a_few_round_trips() -> None:
    network = started(1400, tells=True)
    network.run(4 * network.rtt + 0.01)
    assert network.machine.size == 1400


def test_a_jumbo_path_is_found() -> None:
    network = started(9000, ceiling=9000)
    network.run(1)
    assert network.machine.size == 9000


def test_probes_never_exceed_the_ceiling() -> None:
    network = started(9000, ceiling=1492)
    network.run(2000)
    assert max(size for _, size in network.sent) == 1492


@pytest.mark.parametrize(("rounds", "size"), [(2, 1500), (3, 1280)])
def test_a_size_is_given_up_only_after_three_probes(rounds: int, size: int) -> None:
    network = started(ceiling=2000)
    network.run(network.rtt / 2)
    # The largest size is tried again between the others.
    network.lose = rounds * VOLLEY + rounds - 1
    network.run(2.5)
    assert network.machine.size == size


def test_a_silent_fall_is_noticed_in_time() -> None:
    network = started()
    network.run(100)
    network.mtu, fell = 1400, network.now
    network.run(60)
    when, size, why = network.changes[1]
    assert (size, why) == (1280, Why.BLACK_HOLE)
    bound = TIMING.confirmation + 3 * TIMING.probe + 2 * network.rtt
    assert when - fell <= bound
    assert network.machine.size == 1400


def test_a_lost_confirmation_alone_changes_nothing() -> None:
    network = started()
    network.run(5)
    network.lose = 2
    network.run(60)
    assert len(network.changes) == 1


def test_a_dead_path_is_silence_and_not_a_black_hole() -> None:
    network = started()
    network.run(5)
    network.answers = False
    network.run(60)
    assert [why for _, _, why in network.changes] == [Why.PROBE, Why.SILENCE]
    assert network.unanswered == 1
    network.answers = True
    network.run(15)
    assert network.machine.size == 1500


def test_a_peer_that_answers_nothing_is_told_of_once() -> None:
    network = started(answers=False)
    network.run(2000)
    assert network.unanswered == 1
    assert network.changes == []
    assert network.machine.report().phase is Phase.ERROR


def test_a_fall_that_is_told_costs_one_round_trip() -> None:
    network = started(tells=True)
    network.run(5)
    network.mtu = 1400
    network.carry_out(network.machine.too_big(1400, Instant(network.now)))
    assert network.machine.size == 1280
    assert network.sent[-1] == (network.now, 1400)
    network.run(network.rtt)
    assert network.machine.size == 1400


@pytest.mark.parametrize("size", [0, 68, 1000, 1279, 1500, 1501, 9000, 65_535])
def test_a_packet_too_big_that_cannot_be_true_changes_nothing(size: int) -> None:
    network = started()
    network.run(5)
    before = network.machine.report()
    assert network.machine.too_big(size, Instant(network.now)) == []
    assert network.machine.report() == before


def test_a_larger_size_is_tried_again_only_after_the_raise_timer() -> None:
    network = started(tells=True)
    network.run(5)
    network.carry_out(network.machine.too_big(1400, Instant(network.now)))
    told = network.now
    network.run(TIMING.raise_ - 1)
    assert network.machine.size == 1400
    network.run(5)
    assert network.machine.size == 1500
    assert network.changes[-1][0] >= told + TIMING.raise_


def test_a_path_that_grows_is_found_by_the_raise_timer() -> None:
    network = started(1400)
    network.run(60)
    network.mtu = 1500
    network.run(TIMING.raise_ + 5)
    assert network.machine.size == 1500


def test_a_probe_answered_twice_counts_once() -> None:
    machine = PathMtu(1500, TIMING)
    _, probe = machine.begin(Instant(0))
    assert isinstance(probe, SendProbe)
    assert machine.answered(probe.probe, Instant(0.1)) != []
    before = machine.report()
    assert machine.answered(probe.probe, Instant(0.2)) == []
    assert machine.answered(9_999, Instant(0.2)) == []
    assert machine.report() == before


def test_an_idle_path_costs_less_than_a_thousandth_of_ten_megabits() -> None:
    network = started(1400)
    network.run(60)
    network.sent.clear()
    network.run(3600)
    bits = 8 * sum(size for _, size in network.sent)
    assert bits / 3600 < 10_000


def test_a_ceiling_below_the_base_is_our_mistake() -> None:
    with pytest.raises(UsageError):
        PathMtu(1279, TIMING)


def test_what_lies_below_an_unanswered_size_is_tried_without_waiting_for_its_loss() -> None:
    network = started(1400)
    network.run(4 * network.rtt + 0.01)
    assert network.machine.size == 1400
    assert network.machine.report().lost == 0


# --- what the host says ---------------------------------------------------------------------------


def test_a_size_that_the_interface_does_not_take_is_lost_at_once() -> None:
    network = started(9000, ceiling=9000, interface=1500)
    network.run(1)
    assert network.machine.size == 1500
    network.run(60)
    assert network.machine.size == 1500
    assert network.machine.report().phase is Phase.COMPLETE


def test_an_interface_that_shrinks_lets_the_size_fall_at_the_next_confirmation() -> None:
    network = started()
    network.run(5)
    network.interface = network.mtu = 1400
    network.run(TIMING.confirmation)
    assert [why for _, _, why in network.changes][:2] == [Why.PROBE, Why.INTERFACE]
    assert network.machine.size == 1400


def test_an_interface_below_the_base_size_leaves_the_base_unconfirmed() -> None:
    network = started(interface=1279)
    assert network.machine.report().phase is Phase.ERROR
    assert network.unanswered == 1
    network.interface = 1500
    network.run(TIMING.confirmation + 1)
    assert network.machine.size == 1500


def test_an_interfaces_word_about_a_probe_that_is_not_known_changes_nothing() -> None:
    network = started()
    network.run(5)
    before = network.machine.report()
    assert network.machine.too_long(9_999, Instant(network.now)) == []
    assert network.machine.report() == before


def test_probes_that_cannot_be_made_are_neither_sent_nor_lost() -> None:
    network = started(busy_until=30.0)
    network.run(29)
    report = network.machine.report()
    assert (report.sent, report.lost, report.phase) == (0, 0, Phase.BASE)
    assert network.unanswered == 0
    network.run(3)
    assert network.machine.size == 1500


def test_a_confirmation_that_cannot_be_made_now_says_nothing_of_the_path() -> None:
    network = started()
    network.run(5)
    network.busy_until = 100.0
    network.run(120)
    assert network.changes == [(pytest.approx(0.1), 1500, Why.PROBE)]
    assert network.machine.report().lost == 0


# --- hints that anybody may have sent -------------------------------------------------------------


def test_a_hint_that_is_not_true_costs_two_probes_and_changes_nothing() -> None:
    network = started()
    network.run(5)
    network.sent.clear()
    network.carry_out(network.machine.hint(1400, Instant(network.now)))
    assert [size for _, size in network.sent] == [1500, 1400]
    network.run(5)
    assert len(network.sent) == 2
    assert len(network.changes) == 1


def test_hints_are_looked_at_once_a_second() -> None:
    network = started()
    network.run(5)
    network.sent.clear()
    for _ in range(1000):
        network.carry_out(network.machine.hint(1400, Instant(network.now)))
        network.run(0.01)
    assert len(network.sent) <= 2 * 11
    assert len(network.changes) == 1


def test_a_true_hint_is_found_out_without_the_confirmation_timer() -> None:
    network = started()
    network.run(5)
    network.mtu = 1391
    network.carry_out(network.machine.hint(1391, Instant(network.now)))
    network.run(3 * TIMING.probe + 2 * network.rtt)
    assert network.machine.size == 1391


def test_a_true_hint_that_is_proved_by_our_own_probe_costs_three_round_trips() -> None:
    network = started(tells=True)
    network.run(5)
    network.mtu = 1391
    network.carry_out(network.machine.hint(1391, Instant(network.now)))
    network.run(3 * network.rtt + 0.01)
    assert network.machine.size == 1391


@pytest.mark.parametrize("size", [0, 1000, 1279, 1500, 9000])
def test_a_hint_that_cannot_be_true_is_not_looked_at(size: int) -> None:
    network = started()
    network.run(5)
    assert network.machine.hint(size, Instant(network.now)) == []


@dataclass(frozen=True)
class Change:
    """What happens to a path after ``after`` seconds: a new MTU, answers told or not, hints."""

    after: float
    mtu: int
    tells: bool
    forged: int | None
    forged_ours: bool
    lose: int


CHANGES = st.builds(
    Change,
    after=st.floats(0, 100),
    mtu=st.integers(1280, 9000),
    tells=st.booleans(),
    forged=st.none() | st.integers(0, 10_000),
    forged_ours=st.booleans(),
    lose=st.integers(0, 2),
)


@given(
    first=st.integers(1280, 9000),
    ceiling=st.integers(1280, 9000),
    rtt=st.floats(0.001, 0.9),
    changes=st.lists(CHANGES, max_size=6),
)
def test_whatever_a_path_does_the_size_is_proved_and_black_holes_end_in_time(
    first: int, ceiling: int, rtt: float, changes: list[Change]
) -> None:
    network = started(first, ceiling, rtt=rtt)
    mtus = [(0.0, first)]
    for change in changes:
        network.run(change.after)
        network.mtu, network.tells, network.lose = change.mtu, change.tells, change.lose
        mtus.append((network.now, change.mtu))
        if change.forged is not None:
            told = network.machine.too_big if change.forged_ours else network.machine.hint
            before = network.machine.size
            network.carry_out(told(change.forged, Instant(network.now)))
            assert network.machine.size <= before
    network.lose = 0
    network.run(TIMING.raise_ + 200)
    limit = min(network.mtu, ceiling)
    assert limit - 16 < network.machine.size <= limit
    bound = TIMING.confirmation + 3 * TIMING.probe + 2 * rtt
    for when, size, why in network.changes:
        passed = [mtu for since, mtu in mtus if since <= when]
        recent = [m for (_, m), (until, _) in pairwise(mtus) if until >= when - bound]
        if why is Why.PROBE:
            # Proved by a probe that was answered when the path was so wide.
            assert size <= max([passed[-1], *recent])
        else:
            assert size == 1280
    # Nothing longer than the path stays in use.
    in_use = 1280
    for when, size, _ in [*network.changes, (network.now, 0, Why.BASE)]:
        since, mtu = max(entry for entry in mtus if entry[0] <= when)
        if in_use > mtu:
            assert when <= since + bound + TIMING.probe
        in_use = size


@given(
    first=st.integers(1280, 9000),
    second=st.integers(1280, 9000),
    ceiling=st.integers(1280, 9000),
    rtt=st.floats(0.001, 0.9),
    tells=st.booleans(),
    lose=st.integers(0, 2),
)
def test_over_any_path_the_size_is_safe_and_ends_close(
    first: int, second: int, ceiling: int, rtt: float, tells: bool, lose: int
) -> None:
    network = started(first, ceiling, rtt=rtt, tells=tells, lose=lose)
    network.run(120)
    limit = min(first, ceiling)
    assert limit - 16 < network.machine.size <= limit
    network.mtu, changed = second, network.now
    network.run(TIMING.raise_ + 120)
    limit = min(second, ceiling)
    assert limit - 16 < network.machine.size <= limit
    # Whatever rose did so by a probe, and nothing in use was longer than the path for long.
    sizes = [1280, *(size for _, size, _ in network.changes)]
    for before, after, why in zip(
        sizes, sizes[1:], (why for _, _, why in network.changes), strict=False
    ):
        assert after > before if why is Why.PROBE and after > 1280 else after == 1280
    late = changed + TIMING.confirmation + 3 * TIMING.probe + 2 * rtt
    assert all(size <= second for when, size, _ in network.changes if when > late)
