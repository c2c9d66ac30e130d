"""Log lines: their form, what verbosity lets through, and what strangers can cause."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

import pytest

from ovpn6.config.schema import ProcessConfig
from ovpn6.daemon.logs import (
    STRANGER_LINES,
    STRANGER_PERIOD,
    Logger,
    LogOptions,
    StreamTarget,
    bridge_logging,
    log_options,
    open_target,
)
from ovpn6.model.errors import ConfigError
from ovpn6.model.names import Level

NOON = 1_795_367_503.25


class Lines:
    """A target that keeps lines, and a clock that stands still until it is moved."""

    def __init__(self, *, timestamps: bool = True) -> None:
        self.timestamps = timestamps
        self.lines: list[str] = []
        self.now = NOON

    def write(self, level: Level, line: str) -> None:
        self.lines.append(line)

    def logger(self, **options: object) -> Logger:
        return Logger(self, LogOptions(**options), wall_clock=lambda: self.now)  # type: ignore[arg-type]


def test_a_line_begins_with_the_local_time() -> None:
    target = Lines()
    target.logger(verb=3).log(Level.INFO, "hello")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d hello", target.lines[0])


def test_microseconds_from_verb_four_on() -> None:
    target = Lines()
    target.logger(verb=4).log(Level.INFO, "hello")
    assert target.lines[0].endswith(" us=250000 hello")


def test_timestamps_can_be_left_out() -> None:
    target = Lines()
    target.logger(verb=3, timestamps=False).log(Level.INFO, "hello", "peer 7")
    assert target.lines == ["peer 7 hello"]


def test_syslog_adds_its_own_time() -> None:
    target = Lines(timestamps=False)
    target.logger(verb=3).log(Level.INFO, "hello")
    assert target.lines == ["hello"]


def test_machine_readable_lines_have_unix_time_and_flags() -> None:
    target = Lines()
    target.logger(verb=3, machine_readable=True).log(Level.WARNING, "careful")
    assert target.lines == ["1795367503.250000 40 careful"]


@pytest.mark.parametrize(
    ("verb", "shown"),
    [
        (0, ["FATAL"]),
        (1, ["FATAL", "ERROR", "WARNING", "up"]),
        (2, ["FATAL", "ERROR", "WARNING", "NOTICE", "up"]),
        (3, ["FATAL", "ERROR", "WARNING", "NOTICE", "INFO", "up"]),
        (6, ["FATAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG", "up"]),
    ],
)
def test_verb_decides_which_levels_are_shown(verb: int, shown: list[str]) -> None:
    target = Lines()
    logger = target.logger(verb=verb, timestamps=False)
    for level in Level:
        logger.log(level, level.name)
    logger.announce("up")
    assert target.lines == shown


def test_a_peers_text_cannot_forge_a_line() -> None:
    target = Lines()
    target.logger(verb=3, timestamps=False).log(Level.INFO, "name=a\n2026 root\x1b[2J\x00")
    assert target.lines == ["name=a?2026 root?[2J?"]


def test_mute_lets_n_lines_of_a_kind_through_and_says_so() -> None:
    target = Lines()
    logger = target.logger(verb=3, mute=2, timestamps=False)
    for number in range(5):
        logger.log(Level.INFO, f"packet {number} from 2001:db8::{number} dropped")
    logger.log(Level.INFO, "something else")
    assert target.lines == [
        "packet 0 from 2001:db8::0 dropped",
        "packet 1 from 2001:db8::1 dropped",
        "NOTE: --mute triggered...",
        "3 variation(s) on previous 2 message(s) suppressed by --mute",
        "something else",
    ]


def test_strangers_get_a_limited_number_of_lines_and_the_rest_is_counted() -> None:
    target = Lines()
    logger = target.logger(verb=3, timestamps=False)
    for number in range(STRANGER_LINES + 5):
        logger.stranger("TLS Error", Level.ERROR, f"TLS Error: {number}")
    assert len(target.lines) == STRANGER_LINES
    logger.stranger("other", Level.ERROR, "another kind")
    assert target.lines[-1] == "another kind"
    target.now += STRANGER_PERIOD + 1
    logger.stranger("TLS Error", Level.ERROR, "TLS Error: again")
    assert target.lines[-2:] == ["5 more lines of this kind: TLS Error", "TLS Error: again"]


def test_a_log_file_takes_standard_output_along(tmp_path: Path, capfd: object) -> None:
    path = tmp_path / "log"
    path.write_text("old\n")
    for append, expected in ((False, "new\n"), (True, "new\nnew\n")):
        process = ProcessConfig(log=path, log_append=append, suppress_timestamps=True, verb=3)
        pid = os.fork()
        if pid == 0:
            Logger(open_target(process, background=False), log_options(process)).log(
                Level.INFO, "new"
            )
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert path.read_text() == expected
    assert path.stat().st_mode & 0o777 != 0


def test_a_log_file_that_cannot_be_made_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="log: "):
        open_target(ProcessConfig(log=tmp_path / "no" / "log"), background=False)


def test_a_closed_output_loses_lines_but_nothing_else() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    StreamTarget(writer).write(Level.INFO, "nobody reads")
    os.close(writer)


def test_library_warnings_end_up_in_the_same_log() -> None:
    target = Lines()
    bridge_logging(target.logger(verb=3, timestamps=False))
    logging.getLogger("ovpn6.datapath").warning("%d replays", 3)
    assert target.lines == ["3 replays"]


def test_a_long_text_of_a_peer_costs_mute_linear_time() -> None:
    target = Lines()
    logger = Logger(target, LogOptions(verb=3, mute=1, timestamps=False))
    logger.log(Level.INFO, "a" * 1_000_000)
    assert len(target.lines) == 1
