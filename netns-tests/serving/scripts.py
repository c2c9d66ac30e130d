"""Scripts that write down how they were called, for either maker's program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ovpn6.lab import Process, wait_for

_RECORDER = """#!/bin/sh
# Our own environment as we were given it: a shell adds variables to its own.
record=$(mktemp "{directory}/new.XXXXXX")
{{
    cat /proc/$$/environ
    printf '\\n'
    for word in "$@"; do printf '%s\\0' "$word"; done
}} > "$record"
mv "$record" "{directory}/$(date +%s.%N).{name}"
{more}
"""


@dataclass(frozen=True, slots=True)
class Call:
    """One run of a script."""

    name: str
    environment: dict[str, str]
    arguments: tuple[str, ...]

    @property
    def kind(self) -> str:
        """``script_type``."""
        return self.environment["script_type"]


class Recorder:
    """A directory of scripts and of what was recorded. Anybody may run them and write there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o777)

    def script(self, name: str, more: str = "exit 0") -> str:
        """The path of a new script that records, then does ``more`` (lines of shell)."""
        path = self.directory / f"{name}.sh"
        path.write_text(_RECORDER.format(directory=self.directory, name=name, more=more))
        path.chmod(0o755)
        return str(path)

    def calls(self, name: str = "") -> list[Call]:
        """The runs so far, in order; of one script, or of all."""
        found = sorted(
            (path for path in self.directory.iterdir() if path.name[0].isdigit()),
            key=lambda path: tuple(map(int, path.name.split(".")[:2])),
        )
        calls = [_call(path) for path in found]
        return [call for call in calls if name in ("", call.name)]

    def wait(
        self, name: str, count: int = 1, limit: float = 10.0, watch: Sequence[Process] = ()
    ) -> list[Call]:
        """The runs of a script, once there are ``count``."""

        def enough() -> list[Call] | None:
            calls = self.calls(name)
            return calls if len(calls) >= count else None

        return wait_for(enough, limit, f"{count} runs of the {name} script", watch)


def _call(path: Path) -> Call:
    name = path.name.split(".", 2)[2]
    environment, _, arguments = path.read_bytes().rpartition(b"\n")
    pairs = (item.partition("=") for item in environment.decode().split("\0") if item)
    words = arguments.decode().split("\0")[:-1]
    return Call(name, {key: value for key, _, value in pairs}, tuple(words))
